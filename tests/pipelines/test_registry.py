import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from eventbus_runtime.config.model import TriggerConfig
from eventbus_runtime.pipelines.registry import (
    Registration,
    Registry,
    TriggerSettings,
    background,
    pipeline,
    registrations,
    resource,
    subscribe,
)
from tests.pipelines.parts import chosen


class Pool: ...


def only_registration(function: Callable[..., Any], kind: str) -> Registration:
    (found,) = (each for each in registrations() if each.function == function and each.kind == kind)
    return found


def test_a_decorator_returns_the_function_itself_so_that_it_stays_callable() -> None:
    def handler(text: str) -> None: ...

    async def database() -> Pool:
        return Pool()

    async def refresh() -> None: ...

    assert pipeline(handler) is handler
    assert pipeline("other")(handler) is handler
    assert subscribe("orders.created")(handler) is handler
    assert resource(database) is database
    assert resource(scope="delivery")(database) is database
    assert background(refresh) is refresh


def test_a_pipeline_takes_the_functions_name_unless_it_is_given_one() -> None:
    @pipeline
    async def billing(message: object) -> None: ...

    @pipeline("invoices")
    async def other(message: object) -> None: ...

    assert set(chosen(billing, other).pipelines) == {"billing", "invoices"}


def test_a_registration_says_its_module_and_place() -> None:
    @pipeline
    async def placed(message: object) -> None: ...

    found = only_registration(placed, "pipeline")
    assert found.module == __name__
    file, _, line = found.where.rpartition(":")
    assert file.endswith("test_registry.py")
    assert int(line) == placed.__code__.co_firstlineno


def test_a_place_is_relative_to_the_working_directory_where_that_is_shorter(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handlers.py").write_text("def handler(message): ...\n")
    code = compile((tmp_path / "handlers.py").read_text(), str(tmp_path / "handlers.py"), "exec")
    for folder, wanted in ((tmp_path, "handlers.py:1"), ("/", f"{str(tmp_path / 'handlers.py')[1:]}:1")):
        monkeypatch.chdir(folder)
        namespace: dict[str, Any] = {"__name__": "handlers"}
        exec(code, namespace)
        pipeline(namespace["handler"])
        assert only_registration(namespace["handler"], "pipeline").where == wanted


def test_a_place_far_from_the_working_directory_is_absolute(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d" / "e" / "f" / "g" / "h" / "i" / "j" / "k" / "l"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    namespace: dict[str, Any] = {"__name__": "handlers"}
    exec(compile("def handler(message): ...\n", "/h.py", "exec"), namespace)
    pipeline(namespace["handler"])
    assert only_registration(namespace["handler"], "pipeline").where == "/h.py:1"


def test_subscribe_registers_the_trigger_with_only_what_was_given_and_a_pipeline_of_its_name() -> None:
    @subscribe("orders.created", "orders.changed", stream="ORDERS", name="billing", max_in_flight=64, timeout="20s")
    async def handler(message: object) -> None: ...

    registry = chosen(handler)
    assert registry.pipelines["billing"].function is handler
    assert dict(registry.subscriptions["billing"].settings) == {
        "filter_subjects": ("orders.created", "orders.changed"),
        "stream": "ORDERS",
        "max_in_flight": 64,
        "timeout": "20s",
    }


def test_subscribe_needs_no_subject_where_a_consumer_is_named() -> None:
    @subscribe(consumer="billing", bus="main")
    async def handler(message: object) -> None: ...

    assert dict(chosen(handler).subscriptions["handler"].settings) == {"consumer": "billing", "bus": "main"}


def test_subscribe_takes_every_key_of_a_trigger() -> None:
    own = {"type", "pipeline", "filter_subjects", "stream", "consumer", "bus"}
    assert set(TriggerSettings.__annotations__) == set(TriggerConfig.model_fields) - own


def test_a_function_may_be_subscription_and_pipeline_at_once() -> None:
    @subscribe("orders.created")
    @pipeline
    async def handler(message: object) -> None: ...

    assert chosen(handler).problems == []


def test_resources_are_found_by_the_type_that_they_provide() -> None:
    @resource
    async def database() -> AsyncIterator[Pool]:
        yield Pool()

    @resource(scope="delivery")
    def name() -> str:
        return ""

    registry = chosen(database, name)
    assert {provided: each.settings["scope"] for provided, each in registry.resources.items()} == {
        Pool: "runtime",
        str: "delivery",
    }


def test_two_of_one_name_are_a_problem_that_names_both_places() -> None:
    def make(decorate: Callable[[Callable[..., Any]], object]) -> list[Callable[..., Any]]:
        async def twin(message: object) -> None: ...

        first = twin
        decorate(first)

        async def twin(message: object) -> None: ...  # type: ignore[no-redef]

        decorate(twin)
        return [first, twin]

    for decorate, words in ((pipeline, "two pipelines"), (background, "two background functions")):
        first, second = make(decorate)
        (problem,) = chosen(first, second).problems
        assert problem.key == "twin"
        assert problem.where.endswith(f"test_registry.py:{second.__code__.co_firstlineno}")
        assert words in problem.text
        assert f"test_registry.py:{first.__code__.co_firstlineno};" in problem.text


def test_two_subscriptions_of_two_functions_are_told_once() -> None:
    @subscribe("a", name="same")
    async def first(message: object) -> None: ...

    @subscribe("b", name="same")
    async def second(message: object) -> None: ...

    (problem,) = chosen(first, second).problems
    assert "two pipelines are named 'same'" in problem.text


def test_one_function_subscribed_twice_needs_a_second_name() -> None:
    @subscribe("a")
    @subscribe("b")
    async def handler(message: object) -> None: ...

    (problem,) = chosen(handler).problems
    assert "two subscriptions are named 'handler'" in problem.text


def test_two_resources_of_one_type_are_a_problem() -> None:
    @resource
    def first() -> Pool:
        return Pool()

    @resource
    async def second() -> AsyncIterator[Pool]:
        yield Pool()

    registry = chosen(first, second)
    (problem,) = registry.problems
    assert "two resources provide Pool" in problem.text
    assert "first at " in problem.text
    assert registry.resources[Pool].function is first


def test_a_resource_without_a_type_is_a_problem() -> None:
    @resource
    async def untyped():  # type: ignore[no-untyped-def]
        yield Pool()

    @resource
    async def mistyped() -> Pool:  # type: ignore[misc]
        yield Pool()

    @resource
    def nothing() -> None: ...

    @resource
    def no_generator() -> AsyncIterator[Pool]:
        raise NotImplementedError

    texts = [problem.text for problem in chosen(untyped, mistyped, nothing, no_generator).problems]
    assert "annotate it, as `-> AsyncIterator[Pool]` or `-> Pool`" in texts[0]
    assert "it yields, so annotate it as `-> AsyncIterator[…]`, not Pool" in texts[1]
    assert "None names none" in texts[2]
    assert "it is no generator" in texts[3]


def test_a_selection_holds_the_modules_that_were_named_and_all_without_names() -> None:
    @pipeline("only-selected")
    async def handler(message: object) -> None: ...

    assert "only-selected" in Registry.select({__name__}).pipelines
    assert "only-selected" in Registry.select().pipelines
    assert "only-selected" not in Registry.select({"elsewhere"}).pipelines


def test_partials_methods_and_callable_objects_can_be_registered() -> None:
    class Service:
        def __call__(self, message: object) -> None: ...

        def handle(self, message: object) -> None: ...

    service = Service()
    partial = functools.partial(service.handle)
    pipeline("object")(service)
    pipeline(service.handle)
    pipeline("partial")(partial)
    registry = chosen(service, service.handle, partial)
    assert set(registry.pipelines) == {"object", "handle", "partial"}
    assert {each.module for each in registry.pipelines.values()} == {__name__}
    assert all("test_registry.py:" in each.where for each in registry.pipelines.values())


@pytest.mark.parametrize(
    ("use", "error", "words"),
    [
        (lambda: pipeline(5), TypeError, "@pipeline decorates a function, not 5"),  # type: ignore[call-overload]
        (lambda: pipeline("billing")(None), TypeError, "@pipeline decorates a function, not None"),  # type: ignore[type-var]
        (lambda: pipeline(Pool), TypeError, "decorates a function"),
        (lambda: pipeline("")(print), ValueError, "must not be empty"),
        (lambda: background(5), TypeError, "@background decorates"),  # type: ignore[call-overload]
        (lambda: pipeline(functools.partial(print)), TypeError, "give it one, as @pipeline"),
        (lambda: resource(scope="request"), ValueError, 'a scope is "runtime" or "delivery"'),  # type: ignore[call-overload]
        (lambda: subscribe(print), TypeError, 'as @subscribe("orders.created")'),  # type: ignore[arg-type]
        (lambda: subscribe(), ValueError, "a subject, a stream or a consumer"),
        (lambda: subscribe(""), ValueError, "must not be empty"),
        (lambda: subscribe("a", name="")(print), ValueError, "must not be empty"),
        (lambda: subscribe("a")(None), TypeError, "@subscribe decorates a function"),  # type: ignore[type-var]
    ],
)
def test_wrong_use_fails_at_once(use: Callable[[], object], error: type[Exception], words: str) -> None:
    before = registrations()
    with pytest.raises(error, match=words.replace("(", r"\(").replace(")", r"\)")):
        use()
    assert registrations() == before
