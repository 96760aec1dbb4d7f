"""Running seeds: what fails, said so that it can be run again, and with as little as it takes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from simulation.plan import Action, Plan, plan_of
from simulation.world import Violation, World

Actions = tuple[Action, ...]

_MOST_TRIES = 300  # plans that are run to shrink one


def simulated(plan: Plan) -> World:
    """The world after a plan was run in it."""
    world = World(plan)
    world.run()
    return world


def first_failure(seeds: Iterable[int]) -> World | None:
    """The world of the first seed in which something does not hold."""
    worlds = (simulated(plan_of(seed)) for seed in seeds)
    return next((world for world in worlds if world.violation), None)


def first_failing(seeds: Iterable[int]) -> int | None:
    """The first seed in which something does not hold."""
    world = first_failure(seeds)
    return world.plan.seed if world else None


def shrunk(plan: Plan, violation: Violation) -> Plan:
    """A plan with fewer actions, and fewer of them with faults, in which the same does not hold."""
    tries = iter(range(_MOST_TRIES))

    def fails(actions: Actions) -> bool:
        if next(tries, None) is None:
            return False
        smaller = simulated(replace(plan, actions=actions)).violation
        return smaller is not None and smaller.invariant == violation.invariant

    actions = plan.actions
    for size in (2**power for power in range(len(actions).bit_length() - 2, -1, -1)):
        actions = _without(actions, size, fails)
    for index, action in enumerate(actions):
        calmer = (*actions[:index], action.calmed(), *actions[index + 1 :])
        if calmer != actions and fails(calmer):
            actions = calmer
    return replace(plan, actions=actions)


def _without(actions: Actions, size: int, fails: Callable[[Actions], bool]) -> Actions:
    """The actions without those that are not needed, tried so many at a time."""
    start = 0
    while start < len(actions):
        rest = actions[:start] + actions[start + size :]
        if fails(rest):
            actions = rest
        else:
            start += size
    return actions


def report(world: World) -> Iterator[str]:
    """What failed, in which order it came about, and how to see it again."""
    violation, plan = world.violation, world.plan
    assert violation is not None
    yield from world.trace()
    yield ""
    yield f"Seed {plan.seed}, {len(plan.actions)} actions:"
    yield from (f"  {action}" for action in plan.actions)
    yield f"Does not hold: {violation.invariant}"
    yield f"  {violation.process}: {violation.text}"
    yield f"Again: make simulate ARGS='--seed {plan.seed}'"
