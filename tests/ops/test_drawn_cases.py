"""At least 200 drawn cases for each operation: values and derivatives against the reference."""

import hypothesis
import hypothesis.strategies as st
import op_cases
import pytest
from op_checks import check

# For each rank a test of its own, so that they can run side by side: 210 cases in all.
by_rank = pytest.mark.parametrize("rank", [1, 2, 3])
a_third = hypothesis.settings(max_examples=70)
all_at_once = hypothesis.settings(max_examples=200)


@by_rank
@a_third
@hypothesis.given(data=st.data())
def test_correlate(rank: int, data: st.DataObject) -> None:
    check(data.draw(op_cases.correlations(rank)))


@by_rank
@a_third
@hypothesis.given(data=st.data())
def test_convolve(rank: int, data: st.DataObject) -> None:
    check(data.draw(op_cases.correlations(rank, "convolve")))


@by_rank
@a_third
@hypothesis.given(data=st.data())
def test_correlate_transpose(rank: int, data: st.DataObject) -> None:
    check(data.draw(op_cases.transposed_correlations(rank)))


@by_rank
@pytest.mark.parametrize("name", ["max_pool", "min_pool", "avg_pool"])
@a_third
@hypothesis.given(data=st.data())
def test_pool(rank: int, name: str, data: st.DataObject) -> None:
    check(data.draw(op_cases.pools(rank, name)))


@pytest.mark.parametrize("name", ["global_max_pool", "global_avg_pool"])
@all_at_once
@hypothesis.given(data=st.data())
def test_global_pool(name: str, data: st.DataObject) -> None:
    check(data.draw(op_cases.global_pools(name)))


@all_at_once
@hypothesis.given(case=op_cases.dense_calls())
def test_dense(case: op_cases.Case) -> None:
    check(case)
