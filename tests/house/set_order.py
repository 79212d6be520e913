"""A lint for what depends on the order of a set, which differs from process to process: loops, lists, texts made of one.

Lives here: the reading of one file. It reads names and not types: a set is what is written as one, annotated as one, assigned
from one in the same scope, what a function of the file says it returns, what a dict of sets holds, or a constant or field that
some file of the house makes one. Of dict views `-`, `&`, `|` and `^` make sets; so do comprehensions over them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.house.determinism import Fault, imported_names

_TYPES = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})
_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_ORDER_FREE = frozenset({"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all", "Counter"})
_ORDERED = frozenset(
    {
        "list",
        "tuple",
        "enumerate",
        "iter",
        "zip",
        "map",
        "filter",
        "reversed",
        "deque",
        "chain",
        "islice",
        "str",
        "repr",
        "print",
        "reduce",
        "accumulate",
        "product",
        "permutations",
        "combinations",
        "groupby",
        "pairwise",
        "batched",
        "starmap",
        "cycle",
        "zip_longest",
        "OrderedDict",
    }
)
_ORDERED_METHODS = frozenset({"join", "fromkeys", "extend", "extendleft", "writelines", "from_iterable", "executemany", "format"})
_HOLDERS = frozenset({"dict", "defaultdict", "Mapping", "MutableMapping"})
_HANDS_OUT = frozenset({"get", "pop", "setdefault"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Known:
    """What other files make sets: constants by full name, fields of classes by their own name."""

    constants: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _View:
    """What is a set where we read: names in scope, and attributes of anything."""

    names: frozenset[str]
    attributes: frozenset[str]
    makers: frozenset[str] = frozenset()
    holders: frozenset[str] = frozenset()


def faults(tree: ast.Module, known: Known) -> list[Fault]:
    """Everything in one file that depends on a set's order, in order of line."""
    imported = {alias for alias, full in imported_names(tree).items() if full in known.constants}
    attributes = (known.fields - _fields(tree, sets=False)) | _fields(tree, sets=True) | _own_attributes(tree)
    given = _View(frozenset(imported), attributes, _makers(tree), _holders(tree))
    return sorted(set(_in_scope(tree, given)))


def constants_of(tree: ast.Module, module: str) -> set[str]:
    """Full names of the sets that a module makes at its top."""
    view = _view(list(_own(tree)), _View(frozenset(), frozenset()))
    assigned = {name for node in tree.body for name in _bound(node)}
    return {f"{module}.{name}" for name in view.names & assigned}


def fields_of(tree: ast.Module) -> frozenset[str]:
    """Names of the fields that classes annotate as sets."""
    return _fields(tree, sets=True)


def _fields(tree: ast.Module, *, sets: bool) -> frozenset[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    annotated = (node for one in classes for node in one.body if isinstance(node, ast.AnnAssign))
    return frozenset(
        node.target.id for node in annotated if isinstance(node.target, ast.Name) and _is_type(node.annotation) is sets
    )


# --- what is a set -----------------------------------------------------------------------------------------------


def _own_attributes(tree: ast.Module) -> frozenset[str]:
    """Attributes that the file itself assigns a set, such as `self._seen = set()`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
            if _is_set(value, _View(frozenset(), frozenset())):
                found |= {target.attr for target in targets if isinstance(target, ast.Attribute)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute) and _is_type(node.annotation):
            found.add(node.target.attr)
    return frozenset(found)


def _makers(tree: ast.Module) -> frozenset[str]:
    """Functions and methods of the file that say that they return a set."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.returns is not None and _is_type(node.returns))


def _holders(tree: ast.Module) -> frozenset[str]:
    """Names and attributes of the file that are annotated as dicts of sets, or assigned `defaultdict(set)`."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=of) if _is_holder(of):
                found.add(name)
            case ast.arg(arg=name, annotation=of) if of is not None and _is_holder(of):
                found.add(name)
            case ast.Assign(
                targets=[ast.Name(id=name) | ast.Attribute(attr=name)],
                value=ast.Call(func=ast.Name(id="defaultdict"), args=[ast.Name(id="set" | "frozenset"), *_]),
            ):
                found.add(name)
    return frozenset(found)


def _is_holder(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Subscript(value=ast.Name(id="Final" | "ClassVar"), slice=inner):
            return _is_holder(inner)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[_, held])) if name in _HOLDERS:
            return _is_type(held)
        case _:
            return False


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of functions inside it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, _FUNCTIONS):
            yield from _own(child)


def _bound(node: ast.AST) -> set[str]:
    """Names that a statement or argument binds."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.For | ast.AsyncFor | ast.comprehension):
        targets = [node.target]
    elif isinstance(node, ast.arg):
        return {node.arg}
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}


def _view(own: list[ast.AST], inherited: _View) -> _View:
    """The names that hold sets in a scope: annotated so, or assigned from a set, one after the other until no more are found."""
    bound = {name for node in own for name in _bound(node)}
    view = replace(inherited, names=inherited.names - bound)
    while True:
        found = {name for node in own if _makes_set(node, view) for name in _bound(node)} | _taken_out(own, view) | view.names
        if found == view.names:
            return view
        view = replace(view, names=frozenset(found))


def _taken_out(own: list[ast.AST], view: _View) -> set[str]:
    """Names that a loop binds to the sets which a dict holds."""
    found = set()
    for node in own:
        match node:
            case (
                ast.For(target=ast.Name(id=name), iter=ast.Call(func=ast.Attribute(value=of, attr="values")))
                | ast.comprehension(target=ast.Name(id=name), iter=ast.Call(func=ast.Attribute(value=of, attr="values")))
                | ast.For(target=ast.Tuple(elts=[_, ast.Name(id=name)]), iter=ast.Call(func=ast.Attribute(value=of, attr="items")))
                | ast.comprehension(
                    target=ast.Tuple(elts=[_, ast.Name(id=name)]), iter=ast.Call(func=ast.Attribute(value=of, attr="items"))
                )
            ) if _holds_sets(of, view):
                found.add(name)
    return found


def _holds_sets(node: ast.expr, view: _View) -> bool:
    return (node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)) in view.holders


def _makes_set(node: ast.AST, view: _View) -> bool:
    match node:
        case ast.arg(annotation=annotation) if annotation is not None:
            return _is_type(annotation)
        case ast.AnnAssign(annotation=annotation, value=value):
            return _is_type(annotation) or (value is not None and _is_set(value, view))
        case ast.Assign(value=value, targets=[ast.Name(), *_]) | ast.NamedExpr(value=value):
            return _is_set(value, view)
        case _:
            return False


def _is_type(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Subscript):
        final = isinstance(annotation.value, ast.Name) and annotation.value.id == "Final"
        return _is_type(annotation.slice if final else annotation.value)
    if isinstance(annotation, ast.BinOp):
        return _is_type(annotation.left) or _is_type(annotation.right)
    return (annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")) in _TYPES


def _is_set(node: ast.expr, view: _View) -> bool:
    """Whether an expression is written as a set, or names what holds one."""
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(value=of, attr=method)) if method in _METHODS:
            return _is_set(of, view)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self"), attr=name)) if name in view.makers:
            return True
        case ast.Await(value=value):
            return _is_set(value, view)
        case ast.Subscript(value=of):
            return _holds_sets(of, view)
        case ast.Call(func=ast.Attribute(value=of, attr=method)) if method in _HANDS_OUT:
            return _holds_sets(of, view)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return any(_is_set(side, view) or _is_view(side) for side in (left, right))
        case ast.IfExp(body=one, orelse=other):
            return _is_set(one, view) or _is_set(other, view)
        case ast.BoolOp(values=values):
            return any(_is_set(value, view) for value in values)
        case ast.Name(id=name):
            return name in view.names
        case ast.Attribute(attr=name):
            return name in view.attributes
        case _:
            return False


def _is_view(node: ast.expr) -> bool:
    """A dict's keys and items are ordered, but what `-`, `&`, `|` and `^` make of them is a set."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")


# --- what depends on its order -----------------------------------------------------------------------------------


def _in_scope(scope: ast.AST, inherited: _View) -> Iterator[Fault]:
    own = list(_own(scope))
    view = _view(own, inherited)
    free = _order_free(own)
    for node in own:
        for one in _walked(node, free, view):
            if _is_set(one, view):
                yield Fault(one.lineno, f"the order of the set {ast.unparse(one)} is nobody's")
        if isinstance(node, _FUNCTIONS):
            yield from _in_scope(node, view)


def _order_free(own: list[ast.AST]) -> set[int]:
    """Comprehensions whose order nobody sees: the argument of `sorted`, `any` and the like."""
    calls = (node for node in own if isinstance(node, ast.Call) and node.args and not _ties(node))
    return {id(call.args[0]) for call in calls if isinstance(call.func, ast.Name) and call.func.id in _ORDER_FREE}


def _ties(call: ast.Call) -> bool:
    """Of what `key` makes equal, the first met wins or comes first."""
    return isinstance(call.func, ast.Name) and call.func.id in ("sorted", "min", "max") and any(one.arg == "key" for one in call.keywords)


def _walked(node: ast.AST, free: set[int], view: _View) -> list[ast.expr]:
    """What a node takes one after the other, when anybody can see the order."""
    match node:
        case ast.For(iter=one) | ast.AsyncFor(iter=one):
            return [one]
        case ast.ListComp() | ast.GeneratorExp() | ast.DictComp() if id(node) not in free:
            return [generator.iter for generator in node.generators]
        case ast.Starred(value=one) | ast.YieldFrom(value=one) | ast.FormattedValue(value=one):
            return [one]
        case ast.Call(func=ast.Name(id=name)) if name in _ORDERED:
            return list(node.args)
        case ast.Call() if _ties(node):
            return list(node.args[:1])
        case ast.Assign(targets=[ast.Tuple(elts=[_, _, *_]) | ast.List(elts=[_, _, *_])], value=one):
            return [one]
        case ast.Call(func=ast.Attribute(value=of, attr="pop"), args=[]):
            return [of]
        case ast.Call(func=ast.Attribute(attr=name)) if name in _ORDERED_METHODS:
            return list(node.args)
        case _:
            return []
