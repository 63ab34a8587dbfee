"""Which settings a method tries next in a search: from the ranges it declares, at random or by Optuna."""

import json
import math
import warnings
from dataclasses import dataclass

import optuna

from benchmark.planning.experiment import MethodEntry, Tuning
from data.randomness import generator, integer_seed
from methods.shared import registry

ROUND = 4  # settings that Optuna proposes before it hears how they did
WIDE = 10  # a range whose ends are so many times apart is searched by orders of magnitude
DIGITS = 3  # of a proposed number


@dataclass(frozen=True)
class Tried:
    """Settings of a method over its published ones, and their mean Dice on the validation cases, 0 if they failed."""

    settings: dict
    dice: float


def proposals(entry: MethodEntry, tried: list[Tried], tuning: Tuning) -> list[dict]:
    """The settings to try next; none when `tuning.settings_per_method` were tried.

    The published ones come first, then ones from the ranges that the method declares. A method without ranges, or with
    fewer choices, tries fewer. The result depends on the arguments alone, so a resumed search tries the same settings.
    """
    ranges = ranges_of(entry)
    known = {resolved(entry.name, earlier.settings) for earlier in tried} or {resolved(entry.name, entry.settings)}
    new = [] if tried else [entry.settings]
    most = tuning.settings_per_method
    if tuning.search == "optuna":
        most = min(most, len(tried) + ROUND)
    draw = _random if tuning.search == "random" else _optuna
    for attempt in range(20 * tuning.settings_per_method if ranges else 0):  # some may come twice
        if len(tried) + len(new) >= most:
            break
        candidate = entry.settings | draw(entry, ranges, tried, tuning, len(tried) * 1000 + attempt)
        if (meaning := resolved(entry.name, candidate)) not in known:
            known.add(meaning)
            new.append(candidate)
    return new


def resolved(method: str, settings: dict) -> str:
    """What settings mean, defaults included: the same text for what would be the same trial."""
    return json.dumps([method, registry.settings_of(method, settings).model_dump(mode="json")], sort_keys=True)


def ranges_of(entry: MethodEntry) -> dict[str, list]:
    """What the method's settings may be, (low, high) or choices, but for those that the experiment fixes."""
    fields = registry.get(entry.name).Settings.model_fields
    searched = {name: registry.search_of(field) for name, field in fields.items()}
    return {name: search for name, search in searched.items() if search and name not in entry.settings}


def _distribution(search: list) -> optuna.distributions.BaseDistribution:
    if not registry.is_range(search):
        return optuna.distributions.CategoricalDistribution(search)
    low, high = search
    if all(type(end) is int for end in search):
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= WIDE)


def _random(entry: MethodEntry, ranges: dict, tried: list[Tried], tuning: Tuning, attempt: int) -> dict:
    """A draw of its own for each setting, named after it: one setting more leaves the others as they are."""
    values = {}
    for name, search in ranges.items():
        rng, distribution = generator(tuning.seed, f"tuning {entry.name}.{name}", attempt), _distribution(search)
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            values[name] = search[rng.integers(len(search))]
        elif isinstance(distribution, optuna.distributions.IntDistribution):
            values[name] = int(rng.integers(search[0], search[1] + 1))
        elif distribution.log:
            values[name] = math.exp(rng.uniform(*map(math.log, search)))
        else:
            values[name] = float(rng.uniform(*search))
    return _rounded(values)


def _optuna(entry: MethodEntry, ranges: dict, tried: list[Tried], tuning: Tuning, attempt: int) -> dict:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = integer_seed(tuning.seed, f"tuning {entry.name}", attempt) % 2**32
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=ROUND)
    )
    distributions = {name: _distribution(search) for name, search in ranges.items()}
    published = registry.settings_of(entry.name, entry.settings).model_dump()
    for earlier in tried:
        values = {name: earlier.settings.get(name, published[name]) for name in ranges}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                study.add_trial(optuna.create_trial(params=values, distributions=distributions, value=earlier.dice))
            except ValueError:  # a published value outside of its range teaches nothing
                continue
    return _rounded(study.ask(distributions).params)


def _rounded(values: dict) -> dict:
    return {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in values.items()}
