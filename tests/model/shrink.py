"""Finds a short list of operations that still fails, by leaving out ever smaller pieces."""

from model import tables


def shrink(settings, operations, fails, say=lambda text: None):
    """fails(settings, operations) runs a list; returns (settings, operations) of a failing one.

    No single operation can be left out of what is returned, as far as a run tells: what a kill
    does depends on the moment, too.
    """
    calm = {**settings, "failpoint": None}
    if settings["failpoint"] and fails(calm, operations):
        settings = calm
    size = len(operations) // 2
    while size:
        start, before = 0, len(operations)
        while start < len(operations):
            rest = operations[:start] + operations[start + size :]
            if fails(used(settings, rest), rest):
                settings, operations = used(settings, rest), rest
                say(f"{len(operations)} operations still fail")
            else:
                start += size
        if size == 1 and len(operations) < before:
            continue  # what was needed by a piece that is gone may go as well
        size //= 2
    return settings, operations


def used(settings, operations):
    """Only with the tables that the operations need; one table at least."""
    names = set()
    for operation in operations:
        names |= {operation["table"]} if "table" in operation else set(operation.get("tables", ()))
    names |= {tables.BY_NAME[name].parent for name in names}
    kept = [name for name in settings["tables"] if name in names]
    return {**settings, "tables": kept or settings["tables"][:1]}
