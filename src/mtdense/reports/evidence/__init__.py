"""Comparisons of methods: declared in a file, run within one budget, judged by paired differences."""

from mtdense.reports.evidence.formats import FORMATS, print_rows, render_summary, summary_dict
from mtdense.reports.evidence.jobs import KEEP, Progress
from mtdense.reports.evidence.paired import Difference, order_verdict, t_interval
from mtdense.reports.evidence.plan_file import Plan, parse_plan
from mtdense.reports.evidence.runner import sole_use
from mtdense.reports.evidence.selection import Choice, choose
from mtdense.reports.evidence.session import Outcome, execute, select_networks
from mtdense.reports.evidence.summary import SettingSummary, summarise
from mtdense.reports.evidence.timetable import Entry, Schedule, schedule
from mtdense.reports.evidence.trials import Comparison, Network, State, Trial

__all__ = [
    "FORMATS",
    "KEEP",
    "Choice",
    "Comparison",
    "Difference",
    "Entry",
    "Network",
    "Outcome",
    "Plan",
    "Progress",
    "Schedule",
    "SettingSummary",
    "State",
    "Trial",
    "choose",
    "execute",
    "order_verdict",
    "parse_plan",
    "print_rows",
    "render_summary",
    "schedule",
    "select_networks",
    "sole_use",
    "summarise",
    "summary_dict",
    "t_interval",
]
