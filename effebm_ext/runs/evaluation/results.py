"""The result of an evaluation: the content of ``evaluation.json``, its summary and its table."""

from __future__ import annotations

import dataclasses
import math

# A caution is given beyond this many standard errors:
_CROSSED = 3.0  # forward above reverse
_CLASS_CROSSED = 4.0  # the same for one of several classes, each with few chains
_UNSETTLED = 5.0  # the virial away from 1
# The two estimates agree within this many standard errors, or nats per dimension:
_AGREE = 3.0
_CLOSE = 0.01
_FEW = 4.0  # chains that the weights are worth; with fewer, errors of estimates are rough
_APART = 1.0  # nats of error of Bennett's log Z; beyond it the two directions hardly overlap
_WAYS = {"bennett": "Bennett", "forward": "forward", "reverse": "reverse"}


@dataclasses.dataclass(frozen=True)
class ClassEvaluation:
    """The normalising constant of a class, in nats; ``share`` is its frequency in training, and
    ``name`` its name, or None if classes have only numbers. Earlier releases did not have Bennett's
    estimate and the name."""

    label: int
    share: float
    log_z_forward: float
    log_z_forward_error: float
    log_z_reverse: float
    log_z_reverse_error: float
    log_z_bennett: float | None = None
    log_z_bennett_error: float | None = None
    name: str | None = None

    @property
    def gap(self) -> tuple[float, float]:
        """Reverse minus forward, and its standard error."""
        error = math.hypot(self.log_z_forward_error, self.log_z_reverse_error)
        return self.log_z_reverse - self.log_z_forward, error


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The evaluation of a run on ``n_data`` rows with Gaussian noise of ``data_noise`` added, as in
    training. The rows are held out, or from the training data if no rows were (``held_out``).
    Figures are in nats per row, with densities in the units of the data. The density is
    ``exp(-E / temperature)`` on the whole space, also if the chains were kept within ``bounds``.
    With a ``noise_end`` the energy describes no noisy data, and its figures cannot be compared with
    other runs. The ``bennett`` figures are the ones to quote; they use the weights of both
    directions (:func:`effebm_ext.evaluation.bennett.bennett`), and evaluations of earlier releases
    do not have them. The ``forward`` figures are too low on average, the ``reverse`` figures too
    high, see :func:`effebm_ext.evaluation.annealed_importance_sampling`; ``gap`` is reverse minus
    forward of log Z.

    A ``conditional`` run is evaluated as ``sum_y p(y) exp(-E(x, y)) / Z_y`` with the frequencies
    p(y) of the labels in training. It also has the cross-entropy of rows given their labels.
    ``classes`` has every log Z_y; log_z and the gap are their means by p(y).

    ``virial`` is the mean of ``(x - m) . grad E(x) / d`` over the samples that began the way back,
    with m the mean of the data. It is 1 for every density that falls to zero, by integration by
    parts. ``ksd`` is the kernel Stein discrepancy of these samples from the model, about 0 for
    samples of it, and ``ksd_p_value`` the probability of such a value for these; None for a single
    sample, and where samples are copies of others. ``reverse_from_data`` says that data began the
    way back, as the run had fewer than two chains. MMD^2 is between samples of the model and the
    data, and None if half of all pairs of them are equal; ``auroc`` tells the data from ``ood`` by
    the density. ``*_error`` are standard errors. ``cross_entropy_gaussian`` is the cross-entropy of
    the same rows under the Gaussian of the mean and the standard deviation of every element, which
    a useful model is below.
    """

    held_out: bool
    n_data: int
    dimensions: int
    data_noise: float
    ais_steps: int
    ais_chains: int
    ais_chains_reverse: int
    seed: int
    cross_entropy_forward: float
    cross_entropy_forward_error: float
    cross_entropy_reverse: float
    cross_entropy_reverse_error: float
    gap: float
    gap_error: float
    log_z_forward: float
    log_z_forward_error: float
    log_z_reverse: float
    log_z_reverse_error: float
    ess_forward: float
    ess_reverse: float
    acceptance: float
    virial: float
    virial_error: float
    ksd: float | None = None
    ksd_error: float | None = None
    ksd_p_value: float | None = None
    reverse_from_data: bool = False
    noise_end: float = 0.0
    temperature: float = 1.0
    bounds: str = "none"
    conditional: bool = False
    cross_entropy_given_label_forward: float | None = None
    cross_entropy_given_label_forward_error: float | None = None
    cross_entropy_given_label_reverse: float | None = None
    cross_entropy_given_label_reverse_error: float | None = None
    cross_entropy_bennett: float | None = None
    cross_entropy_bennett_error: float | None = None
    log_z_bennett: float | None = None
    log_z_bennett_error: float | None = None
    cross_entropy_given_label_bennett: float | None = None
    cross_entropy_given_label_bennett_error: float | None = None
    classes: tuple[ClassEvaluation, ...] = ()
    mmd2: float | None = None
    mmd2_null_std: float | None = None
    mmd2_p_value: float | None = None
    ood: str | None = None
    auroc: float | None = None
    cross_entropy_gaussian: float | None = None

    def rows(self) -> str:
        """Says in words which rows were evaluated."""
        kind = "held-out" if self.held_out else "training"
        noise = f" with noise of {self.data_noise:g} added" if self.data_noise else ""
        cold = "" if self.temperature == 1 else f" under exp(-E / {self.temperature:.3g})"
        return f"{self.n_data} {kind} rows{noise}{cold}"

    def bits_per_dimension(self, nats: float) -> float:
        """Converts a cross-entropy from nats per row to bits per dimension."""
        return nats / self.dimensions / math.log(2)

    def verdict(self) -> str:
        """Says in one line how good the model is by Bennett's estimate, and whether it can be
        trusted: it can where forward and reverse agree, within three standard errors or within a
        nat per 100 dimensions, and there is no caution. Errors are rough where few chains have the
        weight. An evaluation without Bennett's estimate shows forward and reverse in its place."""
        quoted, source = self._estimates("cross_entropy"), ""
        if self.cross_entropy_bennett is not None:
            quoted = quoted[:1]
        else:
            source = " by forward and reverse, as this evaluation has no estimate of Bennett's"
        bits = " and ".join(f"{self.bits_per_dimension(nats):.2f}" for _, nats, _ in quoted)
        shown = " and ".join(_figure(nats, error) for _, nats, error in quoted)
        figure = f"{bits} bits per dimension ({shown} nats){source}, lower is better"
        if self.cross_entropy_gaussian is not None:
            figure += f" (a Gaussian has {self.cross_entropy_gaussian:.2f} nats)"
        gap = abs(self.gap)
        if not math.isfinite(self.gap_error):
            doubt = "one chain gives no error of the estimates"
        elif gap > max(_AGREE * self.gap_error, _CLOSE * self.dimensions):
            doubt = f"forward and reverse differ by {gap:.3g} nats"
        elif self.cautions():
            doubt = "see the caution below"
        else:
            few = min(self.ess_forward, self.ess_reverse) < _FEW
            rough = ", though by the weight of few chains" if few else ""
            return f"{figure}; the estimate is trustworthy: forward and reverse agree{rough}."
        return f"{figure}; the estimate is not to be trusted: {doubt}."

    def summary(self) -> str:
        """Returns the verdict and some lines on the cross-entropy."""
        found = self._estimates("cross_entropy")
        bits = ", ".join(f"{self.bits_per_dimension(nats):.4g}" for _, nats, _ in found)
        model = f" under the conditional model of {len(self.classes)} classes"
        lines = [
            self.verdict(),
            f"Cross-entropy of {self.rows()}{model if self.conditional else ''}: "
            f"{_listed(found)}, in nats by AIS ({bits} bits per dimension).",
        ]
        if self.conditional:
            given = self._estimates("cross_entropy_given_label")
            lines.append(f"Given their labels: {_listed(given)}.")
        lines.append(
            f"The gap of reverse over forward, {_figure(self.gap, self.gap_error)} nats, says how "
            f"far to trust them; the weights are worth {self.ess_forward:.0f} of {self.ais_chains} "
            f"and {self.ess_reverse:.0f} of {self.ais_chains_reverse} chains."
        )
        return "\n".join(lines + self.cautions())

    def table(self) -> str:
        """Returns all figures, one per line."""
        model = f", conditional model of {len(self.classes)} classes" if self.conditional else ""
        rows = [("", f"{'nats':>20}{'nats/dim':>12}{'bits/dim':>12}")]
        for kind in ("cross_entropy", "cross_entropy_given_label"):
            name = kind.replace("cross_entropy", "cross-entropy").replace("_", " ")
            for way, nats, error in self._estimates(kind):
                per_dimension = (
                    f"{nats / self.dimensions:>12.4f}{self.bits_per_dimension(nats):>12.4f}"
                )
                rows.append((f"{name}, {way}", f"{_figure(nats, error, 3):>20}{per_dimension}"))
        if self.cross_entropy_gaussian is not None:
            nats = self.cross_entropy_gaussian
            per_dimension = f"{nats / self.dimensions:>12.4f}{self.bits_per_dimension(nats):>12.4f}"
            rows.append(("cross-entropy of a Gaussian", f"{nats:>20.3f}{per_dimension}"))
        mean = ", mean over classes" if self.conditional else ""
        log_zs = ((f"log Z, {way}{mean}", z, error) for way, z, error in self._estimates("log_z"))
        for name, nats, error in ((f"gap{mean}", self.gap, self.gap_error), *log_zs):
            rows.append((name, f"{_figure(nats, error, 3):>20}"))
        for way, worth, chains in (
            ("forward", self.ess_forward, self.ais_chains),
            ("reverse", self.ess_reverse, self.ais_chains_reverse),
        ):
            rows.append((f"ESS of the weights, {way}", f"{f'{worth:.1f} of {chains}':>20}"))
        rows.append(("acceptance", f"{self.acceptance:>20.3f}"))
        rows.append(("virial (1 if settled)", f"{self._virial():>20}"))
        if self.ksd is not None:
            ksd = f"{self.ksd:.3g} ± {_known(self.ksd_error, '.2g')} (p = {self.ksd_p_value:.3f})"
            rows.append(("KSD (0 if settled)", f"{ksd:>20}"))
        if self.mmd2 is not None:
            mmd2 = f"{self.mmd2:.5f} (std if equal {self.mmd2_null_std:.5f}"
            rows.append(("MMD^2, samples and data", f"{mmd2}, p = {self.mmd2_p_value:.3f})"))
        if self.auroc is not None:
            rows.append((f"AUROC, {self.ood}", f"{self.auroc:>20.4f}"))
        width = max(len(name) for name, _ in rows) + 1
        lines = [f"{name:<{width}}{values}" for name, values in rows]
        title = f"{self.rows()}, {self.dimensions} dimensions{model}"
        return "\n".join([self.verdict(), title, *lines, *self.cautions()])

    def cautions(self) -> list[str]:
        """Returns sentences that warn against trusting the figures."""
        found = []
        crossed = [("", self.gap, self.gap_error)] * (self.gap < -_CROSSED * self.gap_error)
        for c in self.classes:
            gap, error = c.gap
            if gap < -_CLASS_CROSSED * error:
                shown = str(c.label) if c.name is None else f"{c.name!r}"
                crossed.append((f" of class {shown}", gap, error))
        if crossed:
            gaps = "; ".join(f"{-gap:.2f} ± {error:.2f} nats{of}" for of, gap, error in crossed)
            found.append(
                f"Caution: forward is above reverse ({gaps}), which samples of a model of finite Z "
                "do not allow. The chains are not samples of this energy, or exp(-E) has no finite "
                "integral: trust no figure."
            )
        if abs(self.virial - 1) > _UNSETTLED * self.virial_error:
            found.append(
                f"Caution: (x - m) . grad E / d has the mean {self._virial()} over the chains, "
                "and 1 over samples of a density. The chains have not settled, or exp(-E) has no "
                "finite integral: reverse is no bound, and log Z is that of where the chains were."
            )
        if self.reverse_from_data:
            found.append(
                "Caution: data began the way back where the run has fewer than two chains"
                f"{' of a class' if self.conditional else ''}. They are no samples of the model: "
                "reverse is no bound, and Bennett's estimate is wrong as far as they differ."
            )
        if math.isfinite(self.gap_error) and (self.log_z_bennett_error or 0) > _APART:
            found.append(
                "Caution: the paths of the two directions hardly overlap, so Bennett's estimate is "
                "little more than a guess between them. More temperatures (--ais-steps) help."
            )
        if self.bounds != "none":
            found.append(
                f"Caution: the chains were kept within {self.bounds}, and the figures are those of "
                "a density on the whole space."
            )
        if self.noise_end:
            found.append(
                "The run denoised at several scales: its energy is the density of no noisy data, "
                "and these figures compare with no other run's."
            )
        return found

    def _estimates(self, kind: str) -> list[tuple[str, float, float]]:
        """Returns the estimates of a kind that the evaluation has, with their errors."""
        found = []
        for way, name in _WAYS.items():
            nats, error = (getattr(self, f"{kind}_{way}{e}") for e in ("", "_error"))
            if nats is not None:
                found.append((name, nats, error))
        return found

    def _virial(self) -> str:
        return _figure(self.virial, self.virial_error)


def _listed(estimates: list[tuple[str, float, float]]) -> str:
    return ", ".join(f"{_figure(nats, error)} {way}" for way, nats, error in estimates)


def _figure(value: float, error: float, digits: int = 2) -> str:
    """Writes a figure with its standard error."""
    return f"{value:.{digits}f} ± {_known(error, f'.{digits}f')}"


def _known(error: float | None, form: str) -> str:
    """Writes a standard error, which a single row or chain does not have."""
    return "unknown" if error is None or not math.isfinite(error) else f"{error:{form}}"
