"""What needs the SDKs of model providers, which only `nox -s service` installs."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("anthropic") and find_spec("openai") else ["test_sdks.py"]
