"""What every method must do, whatever it is: the test suite holds the built-in ones to it, `check` anybody's."""

import dataclasses
import inspect
import textwrap
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark.contract import label_checks as labels
from benchmark.contract import network_checks as networks
from benchmark.contract import prediction_checks as prediction
from benchmark.contract import training_checks as training
from benchmark.contract.settings_checks import CHECKS as SETTINGS
from benchmark.contract.small_training import ContractError, SmallTraining, Subject, require
from benchmark.trial.failures import last_line_in
from benchmark.trial.finite import DivergedError
from data.errors import UserError
from methods.shared import registry
from methods.shared.method import Batch, Info, Method, MethodSettings
from methods.shared.networks.registry import network_function


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one check found. state: "ok", "does not apply", "limited" or "broken"; reason: why, in one line.

    A method is limited if it does not run under a setting that experiments may choose, such as slices or a softmax.
    """

    title: str
    state: str
    reason: str = ""


def check(name: str) -> Iterator[Outcome]:
    """Hold a registered method to one check after another."""
    subject, method = Subject(name), registry.get(name)
    yield from _outcomes(subject, CHECKS, method, "broken")
    yield from _outcomes(subject, SETTINGS, method, "limited")


def check_network(name: str) -> Iterator[Outcome]:
    """Hold a registered network to one check after another."""
    make = network_function(name)
    yield from _outcomes(networks.NetworkSubject(name), networks.CHECKS, make, "broken")


def _outcomes(
    subject: object, checks: dict[str, Callable], code: type[Method] | Callable, failed: str
) -> Iterator[Outcome]:
    for title, holds in checks.items():
        try:
            reason = holds(subject)
        except Exception as error:  # whatever the code that is checked raises
            yield Outcome(title, failed, describe(error, code))
        else:
            yield Outcome(title, "does not apply" if reason else "ok", reason or "")


def describe(error: Exception, code: type[Method] | Callable) -> str:
    """The error in one line; where nobody foresaw it, with the line of the code's file that it came through last."""
    if isinstance(error, ContractError | UserError | DivergedError):
        return str(error)
    file, last = Path(inspect.getsourcefile(code)), traceback.extract_tb(error.__traceback__)[-1]
    line = last_line_in(file, error)
    place = f"{file}:{line}" if line else f"{last.filename}:{last.lineno}"
    return f"{textwrap.shorten(f'{type(error).__name__}: {error}', 300)} ({place})"


def describes_itself(subject: Subject) -> None:
    method = registry.get(subject.name)
    info, phases = method.info, method.phases
    require(isinstance(info, Info), "`info` is no Info(…): see methods/shared/method.py")
    require(bool(method.__doc__), f"class {method.__name__} has no docstring: say in a line what the method does")
    require(bool(info.title and info.source), "title or source in `info` is empty: tables print both")
    require(1990 < info.year < 2100, f"year in `info` is {info.year}: give the year of publication")
    fidelities = typing.get_args(typing.get_type_hints(Info)["fidelity"])
    require(info.fidelity in fidelities, f"fidelity in `info` is {info.fidelity!r}: one of {', '.join(fidelities)}")
    counts = info.passes.train > 0 and info.passes.extra >= 0 and info.networks > 0
    require(counts, "passes or networks in `info` are no counts: give the patch passes of a step at a batch of 4")
    different = isinstance(phases, tuple) and len(set(phases)) == len(phases) > 0
    require(different, f'`phases` is {phases!r}: give a tuple of different names, as in phases = ("train",)')
    for part in ("training_step", "predict"):
        require(
            getattr(method, part) is not getattr(Method, part), f"{part}() is missing: see methods/shared/method.py"
        )

    settings = _describes_its_settings(subject.name, method.Settings)
    labelled, unlabelled = method.patches(settings, 4)
    counts = labelled > 0 and unlabelled >= 0
    require(counts, f"patches() gives {labelled} labelled and {unlabelled} unlabelled ones for a batch of 4")
    require(isinstance(method.variant(settings), str), "variant() gives no text: return a row's name, or ''")
    extra_arrays = subject.untrained.method.extra_arrays()  # building it refuses optimisers that are not one a phase
    named = isinstance(extra_arrays, dict) and all(
        isinstance(key, str) and callable(view) for key, view in extra_arrays.items()
    )
    require(named, "extra_arrays() gives no functions by name: return a dict, as in {'edges': find_edges}")
    taken = set(extra_arrays) & {field.name for field in dataclasses.fields(Batch)}
    require(not taken, f"extra_arrays() has {', '.join(sorted(taken))}, a field of every batch: choose another name")


def _describes_its_settings(name: str, settings: type[MethodSettings]) -> MethodSettings:
    require(issubclass(settings, MethodSettings), "Settings is no MethodSettings: derive it from that class")
    defaults = registry.settings_of(name, {})
    for key, field in settings.model_fields.items():
        described = bool(field.description) and "\n" not in field.description
        require(described, f"setting {key} is not described in one line: use setting(default, meaning)")
        default = getattr(defaults, key)
        search = registry.search_of(field) or [default]
        for value in [default, *search]:
            registry.settings_of(name, {key: value})
        inside = search[0] <= default <= search[1] if registry.is_range(search) else default in search
        require(inside, f"setting {key} is searched in {search} without its default {default!r}: include it")
    return defaults


def every_choice_of_every_setting_runs(subject: Subject) -> None:
    for key, field in registry.get(subject.name).Settings.model_fields.items():
        choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
        search = registry.search_of(field) or []
        tried = [*([True, False] if field.annotation is bool else choices), *search * (not registry.is_range(search))]
        for value in dict.fromkeys(tried):
            if value == field.default:
                continue
            try:
                prediction.trains_and_predicts(SmallTraining(subject.name, {key: value}, iterations=1))
            except Exception as error:
                reason = describe(error, registry.get(subject.name))
                raise ContractError(f"with {key}={value!r}: {reason}") from error


CHECKS: dict[str, Callable[[Subject], str | None]] = {
    "describes itself and its settings": describes_itself,
    "never sees labels of unlabelled cases": training.never_sees_labels_of_unlabelled_cases,
    "never opens labels that are not its own": labels.never_opens_labels_that_are_not_its_own,
    "learns from unlabelled images": training.learns_from_unlabelled_images,
    "trains every parameter": training.trains_every_parameter,
    "computes losses and leaves the rest to the loop": training.computes_losses_and_leaves_the_rest_to_the_loop,
    "depends on the seed alone": training.depends_on_the_seed_alone,
    "goes on from a checkpoint as if never stopped": training.goes_on_from_a_checkpoint,
    "takes odd patch sizes": prediction.takes_odd_patch_sizes,
    "takes several classes": prediction.takes_several_classes,
    "runs with every choice of every setting": every_choice_of_every_setting_runs,
    "keeps its losses finite over fifty steps": prediction.keeps_its_losses_finite,
    "predicts probabilities, of each image by itself": prediction.predicts_probabilities,
    "predicts the same in bf16": prediction.predicts_the_same_in_bf16,
}
