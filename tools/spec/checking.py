"""How a check says that it does not hold."""


class Failure(Exception):
    """A check does not hold."""


def expect(condition, what):
    if not condition:
        raise Failure(what)
