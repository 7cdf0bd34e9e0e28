"""The file of --metrics, as Prometheus' own client reads it."""

from prometheus_client.parser import text_string_to_metric_families


def parse(text):
    """The families of a file: {name: (type, samples)}; fails if it is not as it should be."""
    assert text.endswith("\n")
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + "_total" * (family.type == "counter")
        assert name not in found, f"{name}: its samples do not stand together"
        assert family.type in ("counter", "gauge") and family.documentation, name
        labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert labels and len(labels) == len(set(labels)), f"{name}: {labels}"
        assert all(sample.name == name for sample in family.samples)
        found[name] = family.type, family.samples
    return found


def read(path):
    """{name, or name{value of the label}: number}, without the label `pipeline`."""
    with open(path, encoding="utf-8") as f:
        found = parse(f.read())
    figures = {}
    for name, (_, samples) in found.items():
        for sample in samples:
            label = "".join(f"{{{v}}}" for k, v in sample.labels.items() if k != "pipeline")
            figures[name + label] = sample.value
    return figures
