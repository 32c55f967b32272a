"""The tables, as typed declarative models, and the column types they are made of."""

from __future__ import annotations

import sys
from array import array
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from bb3.core.types import Vector

Serial = BigInteger().with_variant(Integer, "sqlite")
"""A key the database counts up; SQLite counts only columns that are spelled INTEGER."""


class Utc(TypeDecorator[datetime]):
    """An aware time. SQLite keeps no zone, so there it is written as naive UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Float32(TypeDecorator["Vector[float]"]):
    """A vector as float32, little-endian, on every machine."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Vector[float] | None, dialect: Dialect) -> bytes | None:
        if value is None:
            return None
        floats = array("f", value)
        if sys.byteorder == "big":
            floats.byteswap()
        return floats.tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Vector[float] | None:
        if value is None:
            return None
        floats: Vector[float] = array("f")
        floats.frombytes(value)
        if sys.byteorder == "big":
            floats.byteswap()
        return floats


class Words(TypeDecorator[str]):
    """Text that every database takes: PostgreSQL refuses NUL, and UTF-8 lone surrogates."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        value = value.replace("\0", "\ufffd")
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Base(DeclarativeBase):
    """All tables. Constraints are named so that a migration can find them again."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ConversationRow(Base):
    """A conversation. ``active_at``: when its user last began it or spoke in it."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "user", "active_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str] = mapped_column(Words)
    started_at: Mapped[datetime] = mapped_column(Utc)
    active_at: Mapped[datetime] = mapped_column(Utc)


class TurnRow(Base):
    """A turn. ``seq`` is the order of arrival: clocks may jump, it does not."""

    __tablename__ = "turns"
    __table_args__ = (Index(None, "conversation", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(Serial, primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    conversation: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    speaker: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Words)
    status: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(Utc)


class TraceRow(Base):
    """A trace, as the JSON of ``bb3.store.codec``."""

    __tablename__ = "traces"
    __table_args__ = (Index(None, "conversation", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(Serial, primary_key=True)
    id: Mapped[str] = mapped_column(String(64), unique=True)
    conversation: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    saved_at: Mapped[datetime] = mapped_column(Utc)
    data: Mapped[str] = mapped_column(Text)


class MemoryRow(Base):
    """A memory.

    ``conversation`` and ``message`` tell where it comes from and are no foreign keys: a memory
    outlives its conversation, and one from a persona file has none. Ids are never used twice
    (autoincrement), so a late ``/forget 3`` cannot hit another memory.
    """

    __tablename__ = "memories"
    __table_args__ = (Index(None, "user", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    user: Mapped[str] = mapped_column(Words)
    speaker: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Words)
    origin: Mapped[str] = mapped_column(String(16))
    conversation: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Utc)
    updated_at: Mapped[datetime] = mapped_column(Utc)
    turns_since_used: Mapped[int] = mapped_column(Integer)
    superseded_by: Mapped[int | None] = mapped_column(
        Serial, ForeignKey("memories.id", ondelete="CASCADE"), index=True
    )
    vector: Mapped[Any] = mapped_column(Float32, nullable=True)
