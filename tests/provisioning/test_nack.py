"""Streams and consumers as objects of NACK."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus_runtime.provisioning.nats import kubernetes
from tests.provisioning import golden
from tests.provisioning.deployments import findings_of, inputs_of

BUS = '[buses.main]\n[deploy.kubernetes]\nnamespace = "shop"\nnack = true\n'
WORKER = '[deploy.worker]\nimage = "shop:1.4.2"\n'
STREAM = '[streams.ORDERS]\nbus = "main"\nsubjects = ["orders.>"]\n'
CONSUMER = '[consumers.billing]\nstream = "ORDERS"\n'


def objects(toml: str) -> list[dict[str, Any]]:
    found = kubernetes.RENDERER.manifests(inputs_of(toml))
    return [one.body for one in found if one.kind.startswith("infra.k8s.nack_")]


def said(toml: str, level: str) -> list[str]:
    return [f"{one.key}: {one.text}" for one in findings_of(toml) if one.level == level]


def test_what_would_lose_data_by_default_is_always_said() -> None:
    stream, consumer = objects(BUS + STREAM + CONSUMER)
    assert {key: stream["spec"][key] for key in ("storage", "replicas", "preventDelete")} == {
        "storage": "file",
        "replicas": 1,
        "preventDelete": True,
    }
    assert {key: consumer["spec"][key] for key in ("ackPolicy", "ackWait", "maxDeliver", "preventDelete")} == {
        "ackPolicy": "explicit",
        "ackWait": "30s",
        "maxDeliver": -1,
        "preventDelete": True,
    }


def test_nothing_is_written_unless_it_is_asked_for() -> None:
    assert objects(BUS.replace("true", "false") + STREAM + CONSUMER) == []


def test_what_is_only_attached_to_is_left_alone() -> None:
    assert objects(BUS + '[streams.ORDERS]\nbus = "main"\ndeclare = false\n' + CONSUMER + "declare = false") == []


def test_what_the_worker_creates_too_is_told() -> None:
    cure = (
        "set declare = false in the worker's file, and render NACK's objects from a file that declares it and names "
        "no deploy.worker.image"
    )
    assert said(BUS + WORKER + STREAM + CONSUMER, "warning") == [
        f"deploy.kubernetes.nack: nack = true: stream ORDERS is also created by the worker; {cure}",
        f"deploy.kubernetes.nack: nack = true: consumer billing is also created by the worker; {cure}",
    ]
    assert said(BUS + STREAM + CONSUMER, "warning") == []
    attached = '[streams.ORDERS]\nbus = "main"\ndeclare = false\n' + CONSUMER + "declare = false"
    assert said(BUS + WORKER + attached, "warning") == []


def test_two_names_that_kubernetes_takes_for_one_are_refused() -> None:
    more = '[streams.orders]\nbus = "main"\nsubjects = ["others.>"]\n'
    assert said(BUS + STREAM + more, "error") == [
        "streams.orders: and ORDERS would be one object of NACK, main-orders; rename one"
    ]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("allow_batched = true", "streams.ORDERS.allow_batched"),
        ('republish = { dest = "copies.>", headers_only = true }', "streams.ORDERS.republish.headers_only"),
        (
            'sources = [{ name = "A", consumer = { name = "c", deliver_subject = "d" } }]',
            "streams.ORDERS.sources.consumer",
        ),
    ],
)
def test_what_nack_has_no_place_for_is_refused(more: str, key: str) -> None:
    text = "has no place in an object of NACK; leave it out, or nack = false"
    assert said(BUS + STREAM + more, "error") == [f"{key}: {text}"]


def test_names_are_of_kubernetes_and_the_servers_names_stay() -> None:
    (stream,) = objects(BUS + '[streams."Ärger_der_Kunden!"]\nbus = "main"\nsubjects = "a"')
    assert stream["metadata"]["name"] == "main-rger-der-kunden"
    assert stream["spec"]["name"] == "Ärger_der_Kunden!"


def test_the_case_with_all_fields_has_no_name_of_the_server_left() -> None:
    case = golden.source("kubernetes/nack")
    assert {key for one in objects(case) for key in one["spec"] if "_" in key} == set()
