"""What Helm and Kubernetes' schemas say of the chart; called by chart.rs.

    chart.py lint CHART                       findings of `helm lint`, one a line
    chart.py render CHART VALUES NAMESPACE    the objects, as `helm template` prints them
    chart.py refuse CHART VALUES              why these values are refused
    chart.py validate RELEASE...              problems of the objects on standard input
"""

import json
import sys

import helm_python
import kubernetes_validate
import yaml


def lint(chart):
    for message in helm_python.lint(chart, strict=True)["messages"]:
        # 1 is a remark, such as on a missing icon.
        if message["severity"] > 1:
            print(message)


def render(chart, values, namespace):
    with helm_python.Chart.load(chart) as loaded:
        values = json.loads(values)
        loaded.validate_schema(values)
        rendered = loaded.render(values, name="pidwatch", namespace=namespace)
        for path, text in sorted(rendered.items()):
            if path.endswith(".yaml") and text.strip():
                print(f"---\n# Source: {path}\n{text.strip()}")


def refuse(chart, values):
    with helm_python.Chart.load(chart) as loaded:
        try:
            loaded.validate_schema(json.loads(values))
        except helm_python.HelmError as error:
            print(error)


def validate(*releases):
    objects = [o for o in yaml.safe_load_all(sys.stdin) if o]
    for one in objects:
        # Definitions of the operator are not Kubernetes' own.
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        for release in releases:
            try:
                kubernetes_validate.validate(one, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                print(release, one["kind"], list(error.path), error.message)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
