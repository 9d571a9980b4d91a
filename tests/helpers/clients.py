"""Clients of Redis that tests hand to a coordinator, and close themselves."""

from redis.asyncio import Redis, RedisCluster


async def close_client(client: Redis | RedisCluster) -> None:
    """Close all connections. After a node was lost, `RedisCluster.aclose` closes none: it takes the
    client for one that was never used."""
    if isinstance(client, RedisCluster):
        for node in client.get_nodes():
            await node.disconnect()
    await client.aclose()
