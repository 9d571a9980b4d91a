"""`zenvark-web rules` and `zenvark-web grafana`: alert rules and a dashboard for the metrics."""

from __future__ import annotations

import argparse

from .commands import Command, CommandError

RULES_DESCRIPTION = """\
Prints alert rules for Prometheus, which the runbooks in the documentation explain:

    zenvark-web rules > rules.yml
"""

GRAFANA_DESCRIPTION = """\
Prints a dashboard for Grafana. Import it there, or provision it:

    zenvark-web grafana > dashboard.json
"""

EXIT_CODES = "exit code: 0; 2 if an option is not usable.\n"


def _add_prefix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefix",
        default="zenvark",
        help="the prefix of the metrics' names, as in PrometheusMetrics (default: %(default)s)",
    )


def _add_rules_arguments(parser: argparse.ArgumentParser) -> None:
    _add_prefix(parser)
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME",
        help="a label of your own that tells services apart; may be repeated (default: service)",
    )
    parser.add_argument(
        "--runbooks", metavar="URL", help="the address of the runbooks, for runbook_url"
    )


def _print_rules(arguments: argparse.Namespace) -> int:
    from .._observability import rules

    labels: list[str] = arguments.label or ["service"]
    try:
        text = rules(prefix=arguments.prefix, labels=labels, runbooks=arguments.runbooks)
    except ValueError as error:
        raise CommandError(str(error)) from None
    print(text, end="")
    return 0


def _print_dashboard(arguments: argparse.Namespace) -> int:
    from .._observability import dashboard

    try:
        text = dashboard(prefix=arguments.prefix)
    except ValueError as error:
        raise CommandError(str(error)) from None
    print(text, end="")
    return 0


RULES = Command(
    name="rules",
    help="print alert rules for Prometheus",
    description=RULES_DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_rules_arguments,
    run=_print_rules,
)

GRAFANA = Command(
    name="grafana",
    help="print a dashboard for Grafana",
    description=GRAFANA_DESCRIPTION,
    epilog=EXIT_CODES,
    add_arguments=_add_prefix,
    run=_print_dashboard,
)
