"""What can be said of infra/ without a container engine.

    infra.py files                        the container file, compose.yaml, the dashboard
    infra.py rules                        the dashboard's queries, as rules for promtool
    infra.py scrapes FILE...              every metric of the dashboard is in the scrapes
    infra.py text FILE                    a scrape as the older text format, which promtool reads
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
INFRA = ROOT / "infra"
DASHBOARD = INFRA / "compose/grafana/dashboards/weir.json"
METRIC = re.compile(r"\b(?:weir|process)_[a-z0-9_]+\b")


def fail(text):
    sys.exit(f"infra: {text}")


def container():
    """What is copied exists, every member of the workspace is, and the compiler is the right one."""
    text = (INFRA / "container/Containerfile").read_text()
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    version = manifest["package"]["rust-version"]
    if f"library/rust:{version}-" not in text:
        fail(f"the container file does not build with Rust {version}")
    copies = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
    copied = {path for words in copies if not words[0].startswith("--") for path in words[:-1]}
    missing = [path for path in copied if not (ROOT / path).exists()]
    if missing:
        fail(f"the container file copies what is not there: {missing}")
    left_out = set(manifest["members"]) | {"Cargo.lock", "migrations"}
    if left_out - copied:
        fail(f"the container file does not copy {sorted(left_out - copied)}")
    ignore = (INFRA / "container/Containerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    if kept != copied:
        fail(f"kept by the ignore file, or copied, and not both: {sorted(kept ^ copied)}")


def compose():
    """Mounted files exist, Prometheus and Grafana look where things are, images have versions."""
    folder = INFRA / "compose"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (folder / source).exists():
                fail(f"{name} mounts {source}, which is not there")
        if ":" not in service["image"].rsplit("/", 1)[-1]:
            fail(f"{name}'s image {service['image']} names no version")
    scrapes = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    targets = [t for job in scrapes for static in job["static_configs"] for t in static["targets"]]
    unknown = {target.split(":")[0] for target in targets} - services.keys()
    if unknown:
        fail(f"Prometheus scrapes unknown services: {sorted(unknown)}")
    port = services["weir"]["environment"]["WEIR_METRICS_LISTEN"].rsplit(":", 1)[1]
    if f"weir:{port}" not in targets:
        fail("Prometheus does not scrape the control plane")
    spus = json.loads(re.search(r"--data '(\{.*?\})'", services["cluster"]["command"][0])[1])["spus"]
    if len(targets) != 1 + spus:
        fail(f"Prometheus scrapes {len(targets) - 1} SPUs of {spus}")
    grafana = folder / "grafana/provisioning"
    sources = yaml.safe_load((grafana / "datasources/prometheus.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in sources}
    used = {panel["datasource"]["uid"] for panel in panels()}
    if not used <= uids:
        fail(f"the dashboard uses data sources {sorted(used - uids)}, which are not provisioned")
    yaml.safe_load((grafana / "dashboards/weir.yaml").read_text())


def panels():
    dashboard = json.loads(DASHBOARD.read_text())
    found = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(found) < 10 or len(set(ids)) != len(ids):
        fail("the dashboard has too few panels, or two of one id")
    return found


def rules():
    """A rule per query: promtool then says whether each can be read."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    named = [
        {"record": f"query:{n}", "expr": query.replace("$__rate_interval", "1m")}
        for n, query in enumerate(queries)
    ]
    print(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": named}]}))


def scrapes(paths):
    """Every metric that the dashboard names is served, and every family of ours is shown."""
    text = "".join(Path(path).read_text() for path in paths)
    served = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[:1] not in ("#", "")}
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    named = {m for p in panels() for t in p["targets"] for m in METRIC.findall(t["expr"])}
    if named - served:
        fail(f"the dashboard names metrics that nobody serves: {sorted(named - served)}")
    shown = {re.sub(r"_(total|bucket)$", "", name) for name in named}
    if families - shown:
        fail(f"served and not on the dashboard: {sorted(families - shown)}")
    print(f"{len(families)} families of metrics, each served and on the dashboard")


def text(path):
    """OpenMetrics names a counter without its _total in the lines that describe it."""
    whole = Path(path).read_text()
    counters = set(re.findall(r"^# TYPE (\S+) counter$", whole, re.MULTILINE))
    for line in whole.splitlines():
        words = line.split(" ")
        if words[0] == "#" and len(words) > 2 and words[2] in counters:
            words[2] += "_total"
        print(" ".join(words))


match sys.argv[1:]:
    case ["files"]:
        container()
        compose()
        print("the container file, compose.yaml and the dashboard fit together")
    case ["rules"]:
        rules()
    case ["scrapes", *paths] if paths:
        scrapes(paths)
    case ["text", path]:
        text(path)
    case _:
        fail(__doc__)
