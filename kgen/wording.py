"""Words that go with numbers, in messages and in generated text."""


def counted(count: int, one: str, several: str = "") -> str:
    """1 launch, 2 launches; `several` where that is not `one` and an s."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
