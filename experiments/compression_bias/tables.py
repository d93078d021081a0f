"""The results as text."""

from __future__ import annotations

from experiments.common.records import Row

Column = tuple[str, str]  # heading and name in the rows

_TABLES: dict[str, tuple[str, list[Column]]] = {
    "entries": (
        "entries of N(1, I): variance, and total variation from the closed form "
        "(with feedback, from the target)",
        [("variance", "variance"), ("closed form", "variance_expected"),
         ("d to infinity", "variance_limit"), ("1 + step/4 E c^2", "variance_by_identity"),
         ("law", "variance_predicted"), ("distance", "distance_expected"),
         ("from the limit", "distance_limit"), ("of noise alone", "distance_by_noise"),
         ("mean - 1", "mean_bias")],
    ),
    "skewed": (
        "a skewed target",
        [("mean", "mean"), ("closed form", "mean_expected"), ("target", "mean_target"),
         ("variance", "variance"), ("closed form", "variance_expected")],
    ),
    "ill_conditioned": (
        "precisions 1 to 100: variances over the target's, all, the softest and stiffest eighth",
        [("all", "trace"), ("1 + step/4 E c^2", "trace_by_identity"), ("soft", "soft"),
         ("closed form", "soft_expected"), ("stiff", "stiff"), ("closed form", "stiff_expected"),
         ("|cov - I|^2 / d", "frobenius_squared"), ("|mean|^2 / d", "mean_bias_squared")],
    ),
    "learned": (
        "learned precision of N(0, 1), and nats per dimension that it costs",
        [("precision", "precision"), ("closed form", "precision_expected"),
         ("nats", "excess"), ("closed form", "excess_expected")],
    ),
    "followed": (
        "walkers while the precision goes from 1 to 2: variance over the target's at the end",
        [("variance", "variance"), ("ESS/N", "ess"), ("lowest", "lowest_ess"),
         ("acceptance", "acceptance"), ("log Z error", "log_z_error")],
    ),
    "learned_by_walkers": (
        "learned precision of N(0, 1) by walkers, and nats per dimension that it costs",
        [("precision", "precision"), ("nats", "excess"), ("ESS/N", "ess"), ("lowest", "lowest_ess"),
         ("acceptance", "acceptance"), ("log Z error", "log_z_error")],
    ),
    "alarms": (
        "diagnostics of chains from exact samples: variance over the target's",
        [("variance", "variance"), ("virial", "virial"), ("KSD", "ksd"), ("p", "p_value"),],
    ),
}  # fmt: skip


STUDIES = (*_TABLES, "lengths", "delays")  # the last two in the columns of entries


def everything(found: dict[str, list[Row]]) -> str:
    """A table for every study."""
    parts = []
    for study, rows in found.items():
        title, columns = _TABLES[study if study in _TABLES else "entries"]
        parts.append(f"{title}\n{_table(rows, columns)}")
    return "\n\n".join(parts)


def _table(rows: list[Row], columns: list[Column]) -> str:
    text = [["chain", "d" * ("dim" in rows[0]), "step", *(heading for heading, _ in columns)]]
    for row in rows:
        name = row["chain"] + ", rotated" * row.get("rotated", False)
        cells = [number(row.get(column)) for _, column in columns]
        text.append([name, str(row.get("dim", "")), f"{row['step_size']:g}", *cells])
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in text
    )


def number(value: float | list[float] | None) -> str:
    """An estimate with its error to two digits; a number to four decimals."""
    if value is None:
        return "-"
    if isinstance(value, list):
        if None in value or abs(value[0]) > 1000:
            return "diverges"
        digits = 2 if value[1] > 0.1 else 3 if value[1] > 0.01 else 4 if value[1] > 0.001 else 5
        return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"
    return f"{value:.4f}"
