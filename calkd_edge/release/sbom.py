"""sbom.cdx.json: what a bundle consists of and what made it, in CycloneDX 1.6. Equal bundles have equal ones.

It has no time: manifest.json has the date. Its serial number is made from the digests of the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from calkd_edge.records import Json, Report
from calkd_edge.release.bundle import CARD

SBOM = "sbom.cdx.json"


def sbom(report: Report, models: Mapping[str, str], packages: Mapping[str, str]) -> bytes:
    """The components of a bundle: its models, the data behind them, and the packages that made them.

    Args:
        report: of the run.
        models: name of each file in the bundle -> its SHA-256.
        packages: name -> version of what was installed; none of it is in the bundle.
    """
    weights = {role: facts for role, facts in report.models.items() if isinstance(facts, dict)}
    data = _data(report)
    networks = [_network(role, facts) for role, facts in weights.items()]
    files = [_model(name, digest) for name, digest in models.items()]
    made_by = [_package(name, version) for name, version in packages.items()]
    root = Component(name=report.name, type=ComponentType.APPLICATION, bom_ref="bundle")
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, json.dumps([report.name, sorted(models.items())])),
        components=[data, *networks, *files, *made_by],
    )
    bom.metadata.component = root
    bom.register_dependency(root, files)
    for model in files:
        bom.register_dependency(model, [*networks, data])
    tree = json.loads(JsonV1Dot6(bom).output_as_string())
    del tree["metadata"]["timestamp"]
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def _model(name: str, digest: str) -> Component:
    return Component(
        name=name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        external_references=[ExternalReference(type=ExternalReferenceType.MODEL_CARD, url=XsUri(CARD))],
    )


def _network(role: str, facts: Mapping[str, Json]) -> Component:
    """Trained weights, of which the models were made; they are not in the bundle."""
    digest = facts.get("weights_sha256")
    return Component(
        name=str(facts.get("name")),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"weights:{role}",
        description=f"weights of the {role}",
        scope=ComponentScope.EXCLUDED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=str(digest))] if digest else [],
    )


def _data(report: Report) -> Component:
    facts = report.data
    content, terms = facts.get("content_sha256"), facts.get("license")
    return Component(
        name=str(facts.get("identity", "images")),
        type=ComponentType.DATA,
        bom_ref="data",
        scope=ComponentScope.EXCLUDED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=str(content))] if content else [],
        licenses=[DisjunctiveLicense(name=str(terms))] if terms else [],
        properties=[Property(name="calkd-edge:read_as", value=str(facts.get("read_as")))],
    )


def _package(name: str, version: str) -> Component:
    url = PackageURL("pypi", name=name.lower().replace("_", "-"), version=version)
    return Component(
        name=name, version=version, bom_ref=f"package:{name}", purl=url, scope=ComponentScope.EXCLUDED
    )
