import base64
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import BoundsError, LedgerError, MismatchError, ProofError
from kumoi.ledger.tree import (
    EMPTY_ROOT,
    consistency_prove,
    consistency_verify,
    inclusion_prove,
    inclusion_verify,
    leaf_hash,
    node_hash,
    perfect_root,
    tile_width,
    tree_root,
)

EXAMPLES = settings(deadline=None, max_examples=60)

# The reference tree of certificate-transparency and transparency-dev/merkle: eight leaf inputs, the root at
# each size, inclusion proofs (index, size) and consistency proofs (old size, size).
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(h)
    for h in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = {
    (0, 1): "",
    (0, 8): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    (5, 8): "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    (2, 3): "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    (1, 5): "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
}
CONSISTENCY = {
    (1, 1): "",
    (1, 8): "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    (6, 8): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    (2, 5): "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    (6, 7): "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
    "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
}
# Real answers of the Google Argon 2020 log, as kept in golang.org/x/mod/sumdb/tlog/testdata: a consistency
# proof from 3,654,490 to 961,984,013 entries.
ARGON_SIZE, ARGON_ROOT = 961984013, "dwlueapdd7LaOEnX2W2Wp9v2XE+KzejHRQGHwEx0oaM="
ARGON_OLD_SIZE, ARGON_OLD_ROOT = 3654490, "AuIZ5V6sDUj1vn3Y1K85oOaQ7y+FJJKtyRTl1edIKBQ="
ARGON_CONSISTENCY = """
80Sfbj6UQEdVSZCSIgh9NMPj3vCBzcc1A48B2crJSWg= FZcrgAHUk6nNPviJZq8kEK6jCG1d18pJOFE45ZDc1TQ=
Q67reWXmPBo1UfmwBap4Xi9PMPfFdUSSw3WGlRZdG7k= eJ7CyhR4PxzBxDIsWgrVYW1eFUb9ndgf46tFmiqVrxA=
QrDwp062Grm5WY8KdrhFsBuuNjGzRox2Jb8PmVL5OYw= XM4YMjMEdLH/XJam/ZWyaP14k3cmsOtnPsOWQ54lW1s=
SGiBh+jOTGccXU48ZzgQ88lRcBmtB4wz4oSDndv2QTg= WAS6txqNLYKGL1GdBdpqmV42TTfn6cJsuDsqLXuTCNI=
QFmRS0rirUA7ZN3lxFjDncV+E1OCrn3NUB4RCp+5fzc= Hdbp7It2XBNZmNDBpCN/KPd7vfVqxgzwOosqVIaEA9E=
mxvHL0ZiblBdD7j7pIa1jlfB0gSqfJ6oX0UGo7L0VsU= q5hjyvoW6TL/PThgcitpDcSTrnKX2p1+aqscqH2euRA=
jTOWDqt3IHj2NVFeezyBz2ofpru+ztEywqKUAfFclKI= GIRn0w3HqJdvU9j1WVD//eR6lk2AaTVjyzjsJNP8U88=
x52GJvxG81fnQBrgOTbll1A5tz95/LXK0Ag1NhB0r1I= 6/0OqrcTgc3o5dD5PymmoC96lB9yLPFuTHVvLy8fSGk=
Gf+iKLfcXO5l4JEFmsZvSdG5q1uEeWPfYLrds6pmjz0= DGuaco+McyM3AfRSF6qX7RwSetwe2ieYJmxw5e9rVx0=
2tQJ9V32hnYp+fdpP6TcjmgJmLeNVOMKM0Ml1kk4cNU= 3PapK+IkyJr8I9yAErAmzuZezzLMzsg+PfeRCgNW8NQ=
s6xiYeejb+wtqHA+URJZ2I/SCPyIW8coP6aB00FJbMY= z9lSpmdTcr5M5ZzKlc4EPh3SrSypKFdk6JUF/UccaZU=
GXIElfmnRuWfbA4z7ubV/UwlpSRUbUeec7oL5HDDnh0= pR0SH/NYP6s9+8azWwaeUXA4Ze/3WCIgMfh5YW6wvcE=
f3GuAKYVrF8RBg3s15jvA/YvV9oAliWtzP/imwPhQVA= WHn8zDxlVgkV+lSlmzaOdfSBrTHoRr5nT3d76q0KKWE=
f2uV2ZxVgULzLPKuZcowRY3ZY7fRlX59iDBjV1R8kNQ= NzQVjJsvQwbi7WStMr9oFkh9VbHfK7LB6o7WwAqwNTs=
C0LttBeYHZHgL+032JIcJC3CTBIyza/hsbmJUgJfmDI= nixU5CWTFVDlF4BGdcU6kA7WSYurEpe9jRWc+F/7sOc=
"""


_LOGS = {}


def large_log(memory_log, total):
    if total not in _LOGS:
        _LOGS[total] = memory_log(total, batch=700)
    return _LOGS[total]


def hashes_split(text: str) -> list[bytes]:
    raw = bytes.fromhex(text)
    return [raw[at : at + 32] for at in range(0, len(raw), 32)]


def test_empty_root_and_domain_separation():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"") == ROOTS[0]
    assert leaf_hash(b"\x01" * 64) != node_hash(b"\x01" * 32, b"\x01" * 32)


def test_reference_roots(memory_log):
    log = memory_log()
    for size, root in enumerate(ROOTS, start=1):
        log.grow(LEAVES[size - 1 : size])
        assert log.edge.root == tree_root(log, size) == root


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(memory_log, index, size):
    log = memory_log()
    log.grow(LEAVES)
    proof = inclusion_prove(log, index, size)
    assert list(proof) == hashes_split(INCLUSION[index, size])
    inclusion_verify(leaf_hash(LEAVES[index]), index, size, proof, ROOTS[size - 1])


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_published_consistency_proofs(memory_log, old, size):
    log = memory_log()
    log.grow(LEAVES)
    proof = consistency_prove(log, old, size)
    assert list(proof) == hashes_split(CONSISTENCY[old, size])
    consistency_verify(old, ROOTS[old - 1], size, ROOTS[size - 1], proof)


def test_real_log_consistency_proof():
    proof = [base64.b64decode(line) for line in ARGON_CONSISTENCY.split()]
    old_root, root = base64.b64decode(ARGON_OLD_ROOT), base64.b64decode(ARGON_ROOT)
    consistency_verify(ARGON_OLD_SIZE, old_root, ARGON_SIZE, root, proof)
    with pytest.raises(ProofError, match="rewritten"):
        consistency_verify(ARGON_OLD_SIZE - 1, old_root, ARGON_SIZE, root, proof)
    with pytest.raises(ProofError):
        consistency_verify(ARGON_OLD_SIZE, old_root, ARGON_SIZE, root, proof[:-1])


def test_every_proof_of_every_small_tree(memory_log, naive, entries):
    tree = naive(entries(40))
    log = memory_log(40)
    roots = [tree.root(0, size) for size in range(41)]
    for size in range(1, 41):
        for index in range(size):
            proof = inclusion_prove(log, index, size)
            assert list(proof) == tree.path(index, 0, size)
            inclusion_verify(leaf_hash(tree.entries[index]), index, size, proof, roots[size])
        for old in range(1, size + 1):
            proof = consistency_prove(log, old, size)
            assert list(proof) == tree.subproof(old, 0, size)
            consistency_verify(old, roots[old], size, roots[size], proof)
        assert consistency_prove(log, 0, size) == ()
        consistency_verify(0, EMPTY_ROOT, size, roots[size], ())


@EXAMPLES
@given(data=st.data())
def test_proofs_of_large_trees_match_the_definition(memory_log, naive, entries, data):
    total = 3000
    tree = naive(entries(total))
    log = large_log(memory_log, total)
    size = data.draw(st.one_of(st.sampled_from([255, 256, 257, 511, 512, 513, 2048]), st.integers(1, total)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    root = tree.root(0, size)
    assert tree_root(log, size) == root
    log.reads = 0
    inclusion = inclusion_prove(log, index, size)
    assert log.reads <= 4, "an inclusion proof needs few tiles"
    assert list(inclusion) == tree.path(index, 0, size)
    inclusion_verify(leaf_hash(tree.entries[index]), index, size, inclusion, root)
    log.reads = 0
    consistency = consistency_prove(log, old, size)
    assert log.reads <= 4, "a consistency proof needs few tiles"
    assert list(consistency) == tree.subproof(old, 0, size)
    consistency_verify(old, tree.root(0, old), size, root, consistency)


@EXAMPLES
@given(data=st.data())
def test_every_bit_of_an_inclusion_proof_counts(memory_log, entries, bits, data):
    size = data.draw(st.integers(2, 700))
    index = data.draw(st.integers(0, size - 1))
    log = large_log(memory_log, 700)
    leaf, root = leaf_hash(entries(700)[index]), tree_root(log, size)
    proof = list(inclusion_prove(log, index, size))
    at = data.draw(st.integers(0, len(proof) - 1))
    wrong = [
        [*proof[:at], value, *proof[at + 1 :]] for value in data.draw(st.permutations(bits(proof[at])))[:8]
    ]
    wrong += [proof[:-1], [*proof, root], [root, *proof], proof[:at] + proof[at + 1 :], [*proof, b""]]
    for altered in wrong:
        with pytest.raises(ProofError):
            inclusion_verify(leaf, index, size, altered, root)
    for value in data.draw(st.permutations(bits(leaf)))[:8]:
        with pytest.raises(ProofError):
            inclusion_verify(value, index, size, proof, root)
        with pytest.raises(ProofError):
            inclusion_verify(leaf, index, size, proof, value)
    for other_size in {2 * size, size // 2} - {size}:
        with pytest.raises((ProofError, BoundsError)):
            inclusion_verify(leaf, index, other_size, proof, root)
    for other in {index - 1, index + 1, index ^ 2, index + size} - {index}:
        with pytest.raises((ProofError, BoundsError)):
            inclusion_verify(leaf, other, size, proof, root)


@EXAMPLES
@given(data=st.data())
def test_every_bit_of_a_consistency_proof_counts(memory_log, bits, data):
    size = data.draw(st.integers(2, 700))
    old = data.draw(st.integers(1, size - 1))
    log = large_log(memory_log, 700)
    old_root, root = tree_root(log, old), tree_root(log, size)
    proof = list(consistency_prove(log, old, size))
    at = data.draw(st.integers(0, len(proof) - 1))
    wrong = [
        [*proof[:at], value, *proof[at + 1 :]] for value in data.draw(st.permutations(bits(proof[at])))[:8]
    ]
    wrong += [[], proof[:-1], [*proof, root], [old_root, *proof], proof[:at] + proof[at + 1 :]]
    for altered in wrong:
        with pytest.raises(ProofError):
            consistency_verify(old, old_root, size, root, altered)
    for value in [*data.draw(st.permutations(bits(root)))[:8], old_root]:
        with pytest.raises(ProofError):
            consistency_verify(old, old_root, size, value, proof)
    with pytest.raises(ProofError):
        consistency_verify(old, root, size, root, proof)
    for other_size in (2 * size, size // 2):
        with pytest.raises((ProofError, BoundsError)):
            consistency_verify(old, old_root, other_size, root, proof)


def test_equal_and_empty_trees():
    root = sha256(b"some root").digest()
    consistency_verify(5, root, 5, root, ())
    consistency_verify(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    for old, old_root, size, new_root, proof in [
        (5, root, 5, EMPTY_ROOT, ()),
        (5, root, 5, root, (root,)),
        (0, root, 5, root, ()),
        (0, EMPTY_ROOT, 5, root, (root,)),
        (0, EMPTY_ROOT, 0, root, ()),
    ]:
        with pytest.raises(ProofError):
            consistency_verify(old, old_root, size, new_root, proof)


def test_limits(memory_log):
    log = memory_log(3)
    value = b"\x00" * 32
    for index, size in [(-1, 3), (3, 3), (0, 0), (0, -1), (0, MAX_INTEGER + 1)]:
        with pytest.raises(BoundsError):
            inclusion_prove(log, index, size)
        with pytest.raises(BoundsError):
            inclusion_verify(value, index, size, (), value)
    for old, size in [(-1, 3), (4, 3), (0, -1), (0, MAX_INTEGER + 1)]:
        with pytest.raises(BoundsError):
            consistency_prove(log, old, size)
        with pytest.raises(BoundsError):
            consistency_verify(old, value, size, value, ())
    with pytest.raises(ProofError, match="63"):
        inclusion_verify(value, 0, MAX_INTEGER, [value] * 64, value)
    with pytest.raises(ProofError, match="63"):
        consistency_verify(1, value, MAX_INTEGER, value, [value] * 64)
    with pytest.raises(ProofError, match="32 bytes"):
        inclusion_verify(value[1:], 0, 1, (), value)


@EXAMPLES
@given(
    st.integers(-2, 40),
    st.integers(-2, 40),
    st.lists(st.binary(max_size=40), max_size=8),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
def test_verifiers_raise_nothing_but_ledger_errors(a, b, proof, first, second):
    with suppress(LedgerError):
        inclusion_verify(first, a, b, proof, second)
        assert first == second, "only a tree of one leaf needs no proof"
    with suppress(LedgerError):
        consistency_verify(a, first, b, second, proof)
        assert (a == 0 and first == EMPTY_ROOT) or (a == b and first == second)


def test_storage_that_lacks_hashes_is_reported(memory_log):
    log = memory_log(600)
    log.tiles[0, 1] = log.tiles[0, 1][:-32]
    with pytest.raises(MismatchError, match="tile 1 of level 0"):
        inclusion_prove(log, 300, 600)


def test_tile_width_and_perfect_root():
    # The example of the specification: 70,000 entries.
    assert [tile_width(70_000, 0, n) for n in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [tile_width(70_000, 1, n) for n in (0, 1, 2)] == [256, 17, 0]
    assert [tile_width(70_000, 2, 0), tile_width(70_000, 3, 0)] == [1, 0]
    assert [tile_width(256, 0, 0), tile_width(256, 1, 0)] == [256, 1]
    leaves = [leaf_hash(entry) for entry in LEAVES]
    assert perfect_root(b"".join(leaves)) == ROOTS[-1]
    assert perfect_root(leaves[0]) == leaves[0]
