import asyncio

import pytest

from bb3.lm.slots import SlotBook


async def use(book: SlotBook, tokens: list[int], need: int = 0) -> int:
    slot, stale = await book.take(tokens, need or len(tokens))
    slot.tokens = tokens
    for taken in (slot, *stale):
        book.release(taken)
    return slot.id


def conversation(module: int, turns: int, speaker: int = 0) -> list[int]:
    return [module] * 50 + [1000 + 100 * speaker + n for n in range(turns * 10)]


async def test_each_prefix_comes_back_to_its_slot():
    book = SlotBook(4, 10_000)
    homes = [await use(book, conversation(module, 1)) for module in range(4)]
    assert sorted(homes) == [0, 1, 2, 3]
    for turns in range(2, 6):
        assert [await use(book, conversation(m, turns)) for m in range(4)] == homes


async def test_a_new_conversation_takes_the_stalest_slot():
    book = SlotBook(3, 10_000)
    first = await use(book, [1] * 100)
    second = await use(book, [2] * 100)
    third = await use(book, [3] * 100)
    for _ in range(10):
        await use(book, [2] * 100)
        await use(book, [3] * 100)
    assert await use(book, [4] * 100) == first
    assert {second, third} == {await use(book, [2] * 100), await use(book, [3] * 100)}


async def test_an_empty_slot_is_better_than_a_little_in_common():
    book = SlotBook(2, 10_000)
    first = await use(book, [9] * 5 + [1] * 200)
    assert await use(book, [9] * 5 + [2] * 200) != first


async def test_waits_for_a_slot_and_for_room():
    book = SlotBook(2, 100)
    big, _ = await book.take([1], 80)
    waiting = asyncio.create_task(book.take([2], 40))
    await asyncio.sleep(0)
    assert not waiting.done()
    small, _ = await book.take([3], 20)
    book.release(small)
    await asyncio.sleep(0)
    assert not waiting.done()
    book.release(big)
    slot, _ = await waiting
    assert slot.reserved == 40


async def test_a_need_beyond_everything_gets_everything():
    book = SlotBook(1, 100)
    slot, _ = await asyncio.wait_for(book.take([1], 1000), 1)
    assert slot.reserved == 100


async def test_a_waiter_that_leaves_blocks_nobody():
    book = SlotBook(1, 100)
    slot, _ = await book.take([1], 10)
    leaving = asyncio.create_task(book.take([2], 10))
    staying = asyncio.create_task(book.take([3], 10))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    book.release(slot)
    taken, _ = await asyncio.wait_for(staying, 1)
    assert taken is slot


async def test_the_stalest_make_room():
    book = SlotBook(4, 100)
    for token in (1, 2, 3):
        await use(book, [token] * 30)
    slot, stale = await book.take([4] * 30, 30)
    assert [s.id for s in stale] == [0]
    assert all(not s.tokens and s.reserved for s in stale)
    assert slot.id == 3
    assert sum(len(s.tokens) for s in book.slots) + slot.reserved <= 100


def test_a_waiter_of_a_loop_that_ended_is_forgotten():
    book = SlotBook(1, 100)
    slot, _ = asyncio.run(book.take([1], 10))

    async def wait_in_vain() -> None:
        await asyncio.wait_for(book.take([2], 10), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(wait_in_vain())
    book.release(slot)
    assert asyncio.run(book.take([3], 10))[0] is slot
