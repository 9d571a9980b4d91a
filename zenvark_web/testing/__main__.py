"""`python -m zenvark_web.testing`: simulate many seeds, or tell the history of one."""

from .simulation.command import main

if __name__ == "__main__":
    main()
