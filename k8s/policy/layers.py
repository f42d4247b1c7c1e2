"""The configuration as roles read it: all files of one ConfigMap in the order of their names, a later one over earlier ones."""

from rules import arguments, merged, read, rule


def leaves(table, name=""):
    """(key, value) of everything that a table says, keys in full."""
    for key, value in table.items():
        full = f"{name}.{key}".strip(".")
        if isinstance(value, dict):
            yield from leaves(value, full)
        else:
            yield full, value


def toml(table, name=""):
    """A table as TOML, as far as a configuration has kinds of values."""
    lines = [f"[{name}]"] if name else []
    for key, value in table.items():
        if not isinstance(value, dict):
            text = str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
            lines.append(f"{key} = {text}")
    tables = [toml(value, f"{name}.{key}".strip(".")) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join([*lines, *tables])


@rule("roles read all of the configuration")
def whole(overlay):
    for pod in overlay.our_pods():
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.all_containers:
            where, named = f"{pod} container {container['name']}", arguments(container, "--config")
            mounts = [one for one in container["volumeMounts"] if [one["mountPath"]] == named]
            if len(mounts) != 1:
                yield f"{where} reads {named}: expected the directory where the configuration is mounted, and nothing else"
                continue
            sources = volumes[mounts[0]["name"]]["projected"]["sources"]
            maps = [source["configMap"] for source in sources if "configMap" in source]
            if maps != [{"name": overlay.configured()["metadata"]["name"]}]:
                yield f"{where} reads {maps}: expected the whole of the run's ConfigMap"


@rule("a file of the configuration holds differences only")
def differences(overlay):
    # Who writes one of their own may hold on to a value, whatever ours becomes.
    if overlay.own:
        return
    below, said = {}, {}
    for name, text in overlay.configuration():
        for key, value in leaves(read(text)):
            if key in below and (type(value), value) == (type(below[key]), below[key]):
                yield f"{name}: {key} = {value!r} is said again: {said[key]} has it"
            below[key], said[key] = value, name
