"""is-sql: the answer is SQL of a dialect, and touches only the tables and columns that the value allows.

sqlglot reads more than a database would: what promptfoo's parser refuses and sqlglot takes is looked for in the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llmswitch.assertions.base import Answer, Assertion, GradingError
from llmswitch.assertions.findings import Finding, quoted, yes_or_no
from llmswitch.assertions.js import pattern, trim
from llmswitch.text import one_line

if TYPE_CHECKING:
    from sqlglot import Token
    from sqlglot.expressions import Column, Expr, Table

__all__ = ["DIALECTS", "is_sql"]

#: promptfoo's names of databases, in lower case -> sqlglot's
DIALECTS = {
    "athena": "athena",
    "bigquery": "bigquery",
    "hive": "hive",
    "mariadb": "mysql",
    "mysql": "mysql",
    "postgresql": "postgres",
    "redshift": "redshift",
    "snowflake": "snowflake",
    "sqlite": "sqlite",
    "transactsql": "tsql",
    "trino": "trino",
}
#: where an expression of sqlglot's has the table that it is about
_TARGETS = ("this", "expressions", "tables", "securable")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_sql(assertion: Assertion, answer: Answer) -> Finding:
    """Every statement parses; `value` is {databaseType, allowedTables, allowedColumns}, by default for MySQL."""
    value = assertion.value or {}
    if not isinstance(value, dict):
        raise GradingError("its value is no object with databaseType, allowedTables or allowedColumns.")
    named = str(value.get("databaseType") or "MySQL")
    dialect = DIALECTS.get(named.lower())
    if dialect is None:
        raise GradingError(f"there is no parser for the SQL of {one_line(named, 40)}.")
    statements, wrong = _parsed(answer.text, dialect)
    if wrong is not None:
        return yes_or_no(assertion, False, f"it is no SQL for {named}: {wrong}")
    used = {"allowedTables": _tables, "allowedColumns": _columns}
    for key, uses in used.items():
        foreign = _foreign(list(uses(statements)), value.get(key))
        if foreign is not None:
            return yes_or_no(assertion, False, f"it uses {quoted(foreign)}, which is not among its {key}")
    return yes_or_no(assertion, True, f"it is SQL for {named}")


def _parsed(text: str, dialect: str) -> tuple[Sequence[Expr], str | None]:
    """The statements, or why they are none."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    if text.count("`") % 2:
        return (), "a backtick has no other"
    try:
        statements = [one for one in sqlglot.parse(trim(text), read=dialect) if one is not None]
        tokens = sqlglot.tokenize(text, read=dialect)
    except (SqlglotError, ValueError) as error:
        return (), one_line(str(error), 160)
    except RecursionError:
        return (), "it is nested too deeply"
    if not statements:
        return (), "there is no statement"
    if not all(map(_is_statement, statements)):
        return (), "there is an expression, and no statement"
    return statements, _slip(tokens, dialect)


def _is_statement(one: Expr) -> bool:
    """sqlglot takes 'hello world' for a column that has an alias."""
    from sqlglot import expressions as sql

    statements = (
        sql.Alter, sql.Analyze, sql.Command, sql.Commit, sql.DDL, sql.DML, sql.Describe, sql.Drop, sql.Grant, sql.Kill,
        sql.Merge, sql.Pragma, sql.Query, sql.Revoke, sql.Rollback, sql.Set, sql.Show, sql.Transaction,
        sql.TruncateTable, sql.Use,
    )  # fmt: skip
    return isinstance(one, statements)


def _slip(tokens: Sequence[Token], dialect: str) -> str | None:
    """What sqlglot forgives: commas too many, and one too few ('SELECT first last FROM' may mean an alias)."""
    from sqlglot import TokenType

    types = [token.token_type for token in tokens]
    for one, following in pairwise(types):
        if one is TokenType.COMMA and following in (TokenType.COMMA, TokenType.FROM, TokenType.R_PAREN):
            return "there is a comma too many"
    after = {TokenType.SELECT, TokenType.DISTINCT, TokenType.ALL}
    text_like = (TokenType.STRING, TokenType.IDENTIFIER)
    for at in range(len(tokens) - 3):
        pair = tokens[at + 1 : at + 3]
        named = all(_NAME.fullmatch(one.text) and one.token_type not in (*after, *text_like) for one in pair)
        if types[at] in after and named and types[at + 3] is TokenType.FROM:
            return "a comma seems to be missing"
    if dialect == "mysql" and any(one.text.lower() == "generate_series" for one in tokens):
        return "MySQL has no generate_series"
    return None


def _foreign(used: Sequence[str], allowed: Any) -> str | None:
    """The first of `used` that no regular expression of `allowed` matches whole; anything goes where none is given."""
    from regress import Regex, RegressError

    if not allowed:
        return None
    if not isinstance(allowed, list):
        raise GradingError("its allowedTables and allowedColumns have to be lists.")
    try:
        rules = [Regex(f"^{pattern(str(rule))}$", "i") for rule in _unqualified(allowed)]
    except RegressError as error:
        raise GradingError(f"its allowed names do not compile: {one_line(str(error), 80)}") from error
    return next((one for one in used if not any(rule.find(one) for rule in rules)), None)


def _unqualified(allowed: Sequence[Any]) -> Iterator[str]:
    """A column that is allowed of a table is allowed without the table's name as well."""
    for rule in allowed:
        yield str(rule)
        kind, *rest = str(rule).split("::")
        if len(rest) == 2:
            yield f"{kind}::null::{rest[1]}"


def _tables(statements: Sequence[Expr]) -> Iterator[str]:
    """`<what is done>::<database or null>::<table>`."""
    from sqlglot import expressions as sql

    for statement in statements:
        yield from _opaque(statement)
        if isinstance(statement, sql.Show):
            yield "show::null::null"
        for table in statement.find_all(sql.Table):
            yield f"{_done_to(table)}::{table.db or 'null'}::{table.name}"


def _opaque(statement: Expr) -> Iterator[str]:
    """A statement that sqlglot does not look into may use anything."""
    from sqlglot import expressions as sql

    if isinstance(statement, sql.Command):
        yield f"unknown::null::{one_line(statement.sql(), 40)}"


def _done_to(table: Table) -> str:
    """A table is read, unless it is what the statement is about."""
    from sqlglot import expressions as sql

    target = table.parent if isinstance(table.parent, sql.Schema) else table
    owner = target.parent
    read = owner is None or isinstance(owner, sql.From | sql.Join) or target.arg_key not in _TARGETS
    return "select" if read else type(owner).__name__.lower().removesuffix("table")


def _columns(statements: Sequence[Expr]) -> Iterator[str]:
    """`<what is done>::<table or null>::<column>`, `(.*)` for all columns."""
    from sqlglot import expressions as sql

    for statement in statements:
        yield from _opaque(statement)
        tables = {table.alias_or_name: table.name for table in statement.find_all(sql.Table)}
        for column in statement.find_all(sql.Column):
            table = tables.get(column.table, column.table) or "null"
            name = "(.*)" if isinstance(column.this, sql.Star) else column.name
            yield f"{_done_with(column)}::{table}::{name}"
        for star in statement.find_all(sql.Star):
            if isinstance(star.parent, sql.Select):
                yield "select::null::(.*)"
        yield from (f"create::null::{column.name}" for column in statement.find_all(sql.ColumnDef))
        yield from _written(statement)


def _done_with(column: Column) -> str:
    from sqlglot import expressions as sql

    owner = column.parent
    assigned = isinstance(owner, sql.EQ) and isinstance(owner.parent, sql.Update) and owner.arg_key == "expressions"
    return "update" if assigned and column.arg_key == "this" else "select"


def _written(statement: Expr) -> Iterator[str]:
    from sqlglot import expressions as sql

    for insert in statement.find_all(sql.Insert):
        schema = insert.this
        named = [one.name for one in schema.expressions] if isinstance(schema, sql.Schema) else []
        table = schema.this.name if isinstance(schema, sql.Schema) else schema.name
        yield from (f"insert::{table}::{name}" for name in named or ["(.*)"])
    for delete in statement.find_all(sql.Delete):
        if delete.this is not None:
            yield f"delete::{delete.this.name}::(.*)"
