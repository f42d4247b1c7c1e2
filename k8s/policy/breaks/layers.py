"""Breaks of the configuration's files."""

from mutations import config, container, pod, put, simple

ALL = "roles read all of the configuration"
DIFFERENCES = "a file of the configuration holds differences only"
FIRST = "/etc/adwright/10-base.toml"


def mapped(overlay, role):
    """Where a role's volume has the ConfigMap."""
    volume = next(one for one in pod(overlay, role).spec["volumes"] if one["name"] == "config")
    return next(source["configMap"] for source in volume["projected"]["sources"] if "configMap" in source)


def again(overlay, what, place, text):
    simple(DIFFERENCES, overlay, what, lambda o: config(o, place, f"{text}\n{place}"))


simple(ALL, "gpu", "the first file alone", lambda o: put(container(o, "actor")["args"], 2, FIRST))
simple(ALL, "gpu", "one file more than once", lambda o: container(o, "learner")["args"].extend(["--config", FIRST]))
simple(ALL, "jobset", "no file", lambda o: put(container(o, "actor"), "args", ["actor"]))
simple(
    ALL,
    "local",
    "an init container that reads one",
    lambda o: put(pod(o, "learner").spec["initContainers"][0]["args"], 2, FIRST),
)
simple(
    ALL,
    "gpu",
    "a part of the map",
    lambda o: put(mapped(o, "learner"), "items", [{"key": "20-gpu.toml", "path": "20-gpu.toml"}]),
)
again("gpu", "the run's name", "[compute]", '[run]\nid = "demo"')
again("gpu", "a number of the base", "versions = 5", "max_staleness = 1")
again("gpu", "an address of a component", "[compute]", '[endpoints]\nlearner = "https://adwright-learner:7400"')
again("local", "the base's patience", "[paths]\n# Where init", "[actor]\nlearner_timeout_s = 1800.0")
again("jobset", "what the overlay below has", "[actor]\non_run_end", '[diffusion]\nplacing = "compat"')
