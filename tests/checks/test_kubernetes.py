"""What is written for Kubernetes and EKS, before the schemas of Kubernetes 1.37; NACK's kinds before one of ours.

By the library: its command only warns of a kind that it does not know (PROVISIONING section 1).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.checks.nack import SCHEMA
from tests.provisioning import golden
from tests.provisioning.deployments import documents_of, only
from tests.provisioning.k8s_lint import lint
from tests.provisioning.test_k8s_lint import BAD as FITTING

pytestmark = pytest.mark.checks

VERSION = "1.37"
OF_NACK = "jetstream.nats.io/v1beta2"


def validate(document: dict[str, Any]) -> None:
    """Raise where it is not valid."""
    if document["apiVersion"] == OF_NACK:
        jsonschema.validate(document, SCHEMA)
    else:
        kubernetes_validate.validate(document, VERSION, True)


@pytest.mark.parametrize("case", [*golden.cases("kubernetes"), *golden.cases("eks")])
def test_each_object_is_valid(case: str) -> None:
    documents = documents_of(golden.written(case))
    assert documents
    for document in documents:
        validate(document)  # raises


BAD: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda one: one["spec"].update(replica=3),
    "number for a text": lambda one: one["spec"]["template"]["spec"]["containers"][0]["env"][2].update(value=1),
    "text for a number": lambda one: one["spec"].update(replicas="3"),
    "no selector": lambda one: one["spec"].pop("selector"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_object_is_refused(what: str) -> None:
    document = deepcopy(only(documents_of(golden.written("kubernetes/production")), "StatefulSet"))
    validate(document)
    BAD[what](document)
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(document)


@pytest.mark.parametrize("change", [{"kind": "StatfulSet"}, {"apiVersion": "apps/v1beta9"}], ids=["kind", "version"])
def test_an_object_that_kubernetes_has_not_is_refused(change: dict[str, str]) -> None:
    document = only(documents_of(golden.written("kubernetes/production")), "StatefulSet")
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        validate({**document, **change})


BAD_OF_NACK: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "misspelt": ("Stream", lambda spec: spec.update(retentionPolicy="limits")),
    "no storage, which is memory then": ("Stream", lambda spec: spec.pop("storage")),
    "may be deleted": ("Stream", lambda spec: spec.update(preventDelete=False)),
    "days, which Go has not": ("Stream", lambda spec: spec.update(maxAge="7d")),
    "policy of the server": ("Consumer", lambda spec: spec.update(deliverPolicy="last_per_subject")),
    "no ackWait, which is 1ns then": ("Consumer", lambda spec: spec.pop("ackWait")),
    "no ackPolicy, which is none then": ("Consumer", lambda spec: spec.pop("ackPolicy")),
    "key of a stream": ("Consumer", lambda spec: spec.update(maxBytes=1)),
}


@pytest.mark.parametrize("what", BAD_OF_NACK)
def test_a_bad_object_of_nack_is_refused(what: str) -> None:
    kind, change = BAD_OF_NACK[what]
    name = {"Stream": "main-orders", "Consumer": "main-billing"}[kind]
    document = deepcopy(only(documents_of(golden.written("kubernetes/nack")), kind, name))
    validate(document)
    change(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


@pytest.mark.parametrize("what", sorted(FITTING))
def test_what_does_not_fit_is_valid_here_so_that_a_rule_of_ours_must_find_it(what: str) -> None:
    documents = documents_of(golden.written("eks/production"))
    FITTING[what][0](documents)
    assert lint(documents) != []
    for document in documents:
        validate(document)  # raises
