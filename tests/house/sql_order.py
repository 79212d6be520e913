"""A lint for what depends on the order in which PostgreSQL happens to give rows: it promises none where none is asked for.

Lives here: the reading of one file. Rows are fetched several at a time by `fetch`; their order cannot be seen when they are put
into a dict or set by key, counted, sorted, or asked whether there are any, in the function that fetches them. Every other
statement has an ORDER BY of its own. Inside a statement, LIMIT, DISTINCT ON, and what makes one value of many rows or numbers
them, have one too. Which files must pass is in `test_sql_order.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.house.determinism import Fault

_ORDER_FREE = frozenset({"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all", "dict", "Counter", "bool"})
_MANY = re.compile(r"\b(string_agg|array_agg|jsonb?_agg|jsonb?_object_agg|xmlagg|row_number|first_value|last_value|lag|lead)\s*\(", re.I)
_ORDER = re.compile(r"\bORDER\s+BY\b", re.I)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Rows:
    """A place where rows are fetched: the call, the function it stands in, and the text of its statement, None if not to be read."""

    call: ast.Call
    function: str
    text: str | None


def faults(tree: ast.Module) -> list[tuple[str, Fault]]:
    """Everything in one file that depends on an order nobody asked for: the function's name, and the fault."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for rows in _fetched(tree, parents):
        if rows.text is not None and ordered(rows.text):
            continue
        if not _unseen(rows.call, parents):
            why = "rows come in no order" if rows.text is not None else "whether rows come in order cannot be read here"
            found.append((rows.function, Fault(rows.call.lineno, why)))
    return sorted(found)


def ordered(text: str) -> bool:
    """Whether a statement says, outside all brackets and after its last part began, in what order its rows come."""
    outer = _outside(text)
    begins = [match.start() for match in re.finditer(r"\b(?:SELECT|UNION|EXCEPT|INTERSECT)\b", outer, re.I)]
    return _ORDER.search(outer, begins[-1] if begins else 0) is not None


def inner_faults(text: str) -> list[str]:
    """What a statement does with many rows whose order it does not say."""
    found = []
    for match in _MANY.finditer(text):
        if not _ORDER.search(_bracket(text, match.end() - 1)) and not _window(text, match.end() - 1):
            found.append(f"{match[1].lower()} of rows in no order")
    for level in _levels(text):
        if re.search(r"\bLIMIT\b", level, re.I) and not _ORDER.search(level):
            found.append("LIMIT takes rows in no order")
        if re.search(r"\bDISTINCT ON\b", level, re.I) and not _ORDER.search(level):
            found.append("DISTINCT ON keeps rows in no order")
    return found


# --- reading SQL -------------------------------------------------------------------------------------------------


def _outside(text: str) -> str:
    """What stands outside all round brackets."""
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def _levels(text: str) -> list[str]:
    """The text of each pair of brackets, and of the whole, without what stands in brackets inside it; the arms of UNION apart."""
    found = []
    while match := re.search(r"\(([^()]*)\)", text):
        found.append(match[1])
        text = f"{text[: match.start()]} {text[match.end() :]}"
    return [*found, text]


def _bracket(text: str, start: int) -> str:
    """What stands between the bracket at `start` and the one that closes it."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start : at + 1]
    return text[start:]


def _window(text: str, start: int) -> bool:
    """Whether the call whose bracket opens at `start` goes on with an OVER that has an order."""
    rest = text[start + len(_bracket(text, start)) :]
    over = re.match(r"\s*OVER\s*\(", rest, re.I)
    return over is not None and _ORDER.search(_bracket(rest, over.end() - 1)) is not None


# --- reading Python ----------------------------------------------------------------------------------------------


def _fetched(tree: ast.Module, parents: dict[ast.AST, ast.AST]) -> Iterator[_Rows]:
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fetch" and node.args:
            yield _Rows(node, _function(node, parents), _text(node.args[0], constants))


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str | None:
    """The text that an expression is: a literal, a constant of the file, or one with such filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in constants:
            return _text(constants[name], constants)
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) or "{}" for part in parts)
        case ast.FormattedValue(value=value):
            return _text(value, constants)
        case _:
            return None


def _function(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    names = []
    while (above := parents.get(node)) is not None:
        if isinstance(above, _Function | ast.ClassDef):
            names.append(above.name)
        node = above
    return ".".join(reversed(names))


def _unseen(node: ast.expr, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether nobody can see the order of what an expression gives."""
    above = parents[node]
    match above:
        case ast.Await():
            return _unseen(above, parents)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _ORDER_FREE:
            return True
        case ast.UnaryOp(op=ast.Not()) | ast.If() | ast.Assert() | ast.Expr():
            return True
        case ast.IfExp(test=test) if test is node:
            return True
        case ast.comprehension():
            return _unseen_each(parents[above], parents)
        case ast.For(body=body):
            own = [statement for statement in body if _names_a_part(statement, above, parents)]
            return all(statement in own or _keeps_by_key(statement) for statement in body)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.NamedExpr(target=ast.Name(id=name)):
            inside = _scope(node, parents)
            uses = [one for one in ast.walk(inside) if isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load)]
            return all(_unseen(use, parents) for use in uses)
        case _:
            return False


def _unseen_each(comprehension: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    match comprehension:
        case ast.DictComp() | ast.SetComp():
            return True
        case ast.GeneratorExp() | ast.ListComp():
            return _unseen(comprehension, parents)
        case _:
            return False


def _keeps_by_key(statement: ast.stmt) -> bool:
    """Whether a line of a loop only puts a row under its key: `kept[key] = row`, `kept.add(key)`, `kept[key].add(row)`."""
    match statement:
        case ast.Assign(targets=[ast.Subscript()]):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="add"))):
            return True
        case ast.If(body=body, orelse=orelse):
            return all(_keeps_by_key(one) for one in (*body, *orelse))
        case _:
            return False


def _names_a_part(statement: ast.stmt, loop: ast.For, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a line of a loop gives a name to something of the row, which nothing outside the loop uses."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            inside = {one for one in ast.walk(loop) if isinstance(one, ast.Name) and one.id == name}
            everywhere = {one for one in ast.walk(_scope(loop, parents)) if isinstance(one, ast.Name) and one.id == name}
            return inside == everywhere and not any(one in inside for one in ast.walk(statement.value or loop))
        case _:
            return False


def _scope(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.AST:
    while not isinstance(node, _Function | ast.Module | ast.Lambda):
        node = parents[node]
    return node
