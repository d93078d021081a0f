"""The faults: (what is wrong, file below csrc/, text, what stands there instead)."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """``occurrence`` counts from 0 where the text stands in the file more than once."""

    name: str
    file: str
    text: str
    instead: str
    occurrence: int = 0


_SYNC = "  __syncthreads();"
BLOCK, ROWS, TILES, STEP, TOPK, TEAM, SIGN, WINDOWS = (
    f"cuda/{name}.cuh"
    for name in (
        *("block", "rows", "tiles", "step_row", "topk", "team"),
        *("block_sign", "block_sign_windows"),
    )
)
COMPRESSORS, CLIP, NATURAL = "core/compressors.h", "core/clip.h", "core/natural.h"
ELEMENTS, RANDOM_K = "cuda/elements.cuh", "cuda/random_k_launch.cuh"
PACK, PERTURB = "cuda/packing.cu", "cuda/perturb.cu"

FAULTS = [
    # scans and sums
    Fault("scan: one lane too few", BLOCK, "lane() >= distance", "lane() > distance"),
    Fault("scan: totals read before they are written", BLOCK, _SYNC, ""),
    Fault("scan: totals overwritten while read", BLOCK,
          "__syncthreads();  // before the next scan", "//"),
    Fault("sum: lanes added in another order", BLOCK,
          "half = kWarpSize / 2; half >= 1; half /= 2", "half = 1; half < kWarpSize; half *= 2"),
    Fault("sum: one term too many", BLOCK, "return i < n ? term(i)", "return i <= n ? term(i)"),
    Fault("sum: partial sums read before they are written", BLOCK, _SYNC, "", 2),
    # the step of one row
    Fault("noise: wrong purpose", STEP, "Purpose::noise", "Purpose::acceptance"),
    Fault("noise: offset of 32 bits", COMPRESSORS, "uint64_t(p.key[1]) + uint64_t(p.offset)",
          "uint32_t(p.key[1] + p.offset)"),
    Fault("noise: first_chain ignored", STEP, "chain_of(p, r)", "uint32_t(r)"),
    Fault("noise: the same for every quad", STEP, "uint32_t(begin / kQuad)", "0"),
    Fault("noise: drawn where its size is zero", STEP, "scalars_.noise_std != A(0)", "true"),
    Fault("rows: misaligned ones read by vectors", ROWS,
          "reinterpret_cast<uintptr_t>(base) % alignof(Quad<V>) == 0", "base != (const void*)1"),
    Fault("rows: partial quads read by vectors", ROWS, "dim % kQuad == 0", "dim >= kQuad"),
    Fault("rows: stores past the end", ROWS, "if (i < n) row[begin + i]", "row[begin + i]"),
    Fault("residual: keeps all", STEP, "lost[i] = u[i] - c[i]", "lost[i] = u[i]"),
    Fault("clip: left out", CLIP, "clip == Clip::value ? clamp(", "clip == Clip::none ? clamp("),
    Fault("clip by norm: where the norm is the limit's", CLIP, "norm > limit ?", "norm < limit ?"),
    Fault("clip by norm: the same for every row", STEP, "p.norm_scales)[r]", "p.norm_scales)[0]"),
    Fault("bounds: mirror left out", STEP, "bounds_ == Bounds::reflect", "false"),
    Fault("bounds: lose NaN", CLIP,
          "return v < lower ? lower : (v > upper ? upper : v);",
          "return v > lower ? (v < upper ? v : upper) : lower;"),
    # Top-k
    Fault("topk: counts not atomic", TOPK, "atomicAdd(&count[key >> shift & mask], 1u)",
          "++count[key >> shift & mask]"),
    Fault("topk: counted before the counts are zero", TOPK,
          "count[digit] = 0;\n    __syncthreads();",
          "count[digit] = 0;"),
    Fault("topk: counts read too early", TOPK, "    __syncthreads();\n    found", "    found"),
    Fault("topk: digit read before it is found", TEAM, "__syncthreads();\n  return {found",
          "return {found"),
    Fault("topk: last of a digit missed", TEAM, "wanted > above + (", "wanted >= above + ("),
    Fault("topk: one tie too many", TOPK, "rank < selection.of_row", "rank <= selection.of_row"),
    Fault("topk: ties of earlier tiles forgotten", TOPK, "ties_before += scan.total;", ""),
    Fault("topk: ties of one thread all kept", TOPK, "rank += tie;", ""),
    Fault("topk: threads without elements leave before the scan", TOPK,
          "const Scan scan = block_scan(ties);",
          "if (n == 0) return;\n      const Scan scan = block_scan(ties);"),
    Fault("topk: k = 0 keeps all", "cuda/topk_launch.cuh", "Keep<false>()", "Keep<true>()"),
    Fault("topk: NaN ranked by its payload", "core/topk.h",
          "return magnitude > KeyOf<A>::infinity ? KeyOf<A>::infinity + 1 : magnitude;",
          "return magnitude;"),
    # blocks that share a row
    Fault("team: slices beyond the row", TEAM, "end < dim ? end : dim", "end"),
    Fault("team: counters begin as they are", TEAM, "set < kSets; ++set", "set < 0; ++set"),
    Fault("team: counters read before all have added", TEAM,
          "    sync();\n    clear(", "    clear("),
    Fault("team: the counters of this digit set to zero", TEAM, "set_ + kSets - 1", "set_ + kSets"),
    Fault("team: the counters of the digit before stay", TEAM,
          "clear((set_ + kSets - 1) % kSets);", ""),
    Fault("team: own ties counted twice", TEAM,
          "block < rank(); block += threads()", "block <= rank(); block += threads()"),
    Fault("team: ties read before they are written", TEAM,
          "counters_->ties[rank()] = own;\n    sync();", "counters_->ties[rank()] = own;"),
    Fault("team: idle teams do not come along", TEAM, "i < finds + 1", "i < finds"),
    Fault("cluster: counted anew while others read", TEAM,
          "sync();  // before the next digit", "//"),
    Fault("cluster: ties of the first block only", TEAM, "*of(ties, block)", "*of(ties, 0)"),
    # Block-Sign
    Fault("block-sign: scale not carried into the next tile", SIGN,
          "if (first < last) carried =", "if (first > last) carried ="),
    Fault("block-sign: short block divided by the size of the first", SIGN,
          "A(size_of(b))", "A(size_of(0))"),
    Fault("block-sign: scales read before they are written", SIGN,
          "      __syncthreads();\n      if (n > 0)", "      if (n > 0)"),
    Fault("block-sign: scales overwritten while read", SIGN,
          "__syncthreads();  // before the next", "//"),
    Fault("block-sign: long blocks cut at 1024", SIGN,
          "size > kSumWidth) continue", "size > 4096) continue"),
    Fault("block-sign: zero gets a sign", "core/block_sign.h", "v == A(0) ? A(0) : ", ""),
    Fault("windows: a group that ends in the next one is cut", WINDOWS,
          "blocks.end(b) - begin;", "end - begin;"),
    Fault("windows: groups of a long block counted from the window", WINDOWS,
          "first + groups_of(start - first) * kSumWidth", "start"),
    Fault("windows: sums of blocks overlap", WINDOWS, "return block + begin / kSumWidth;",
          "return begin / kSumWidth;"),
    # Random-k
    Fault("random-k: words of the noise", RANDOM_K, "Purpose::compression", "Purpose::noise"),
    Fault("random-k: first_chain ignored", RANDOM_K, "chain_of(p, r)", "uint32_t(r)"),
    Fault("random-k: words of another quad", RANDOM_K, "uint32_t(begin / kQuad)",
          "uint32_t(begin / kQuad + 1)"),
    Fault("random-k: the last of a quad not marked", RANDOM_K,
          "i = kQuad - 1; i >= 0", "i = kQuad - 2; i >= 0"),
    Fault("random-k: marks of the first row for all", RANDOM_K,
          "return {marks + r * quads_of(p.dim),", "return {marks,"),
    Fault("random-k: marks of rows overlap", RANDOM_K, "(dim + kQuad - 1) / kQuad", "dim / kQuad"),
    Fault("random-k: factor left out", RANDOM_K, "u[i] * factor", "u[i]"),
    Fault("random-k: factor also where it is biased", "core/random_k.h",
          "p.compressor == Compressor::random_k && ", ""),
    # natural compression
    Fault("elements: words of the noise", ELEMENTS, "Purpose::compression", "Purpose::noise"),
    Fault("elements: words of another quad", ELEMENTS, "uint32_t(begin / kQuad)",
          "uint32_t(begin / kQuad + 1)"),
    Fault("elements: one word for a quad", ELEMENTS, "words.w[i]", "words.w[0]"),
    Fault("natural: dropped bits stay", NATURAL, " & ~(step - 1)", ""),
    Fault("natural: the largest become infinite", NATURAL, "KeyOf<A>::infinity - step",
          "KeyOf<A>::infinity"),
    # rows by tiles
    Fault("tiles: one turn per row too few", TILES, "(p.dim + kTilesPerTurn * kTile - 1)",
          "(p.dim + kTilesPerTurn - 1)"),
    Fault("tiles: rows past the last", TILES, "own < p.rows ? end - begin : 0", "end - begin"),
    # drifts and sums over rows
    Fault("drift: before it is compressed", STEP, "store_quad(drift_, begin, n, vector_, c)",
          "store_quad(drift_, begin, n, vector_, u)"),
    Fault("row sums: of the state before it is rounded", STEP, "widen(v[i]) - x", "moved[i] - x"),
    Fault("row sums: terms read before they are written", STEP,
          "      __syncthreads();\n      for (int s", "      for (int s"),
    Fault("row sums: those of a row's last tile are too many", STEP,
          "left < size ? int(left) : size", "size"),
    Fault("row sums: of rows past the last", STEP, "r >= band.rows || ", ""),
    Fault("row sums: groups of the first row", STEP, "+ r * kRowSums *", "+ 0 * kRowSums *"),
    Fault("row sums: clipped elements counted after the clip", STEP,
          "is_clipped(clip_, g[i], limit_)", "is_clipped(clip_, u[i], limit_)"),
    # packing
    Fault("packing: the sign of zeros behind the end", PACK, ": A(1);", ": A(0);"),
    Fault("packing: ends of entries dropped", PACK, "found += scan.total;", ""),
    Fault("packing: last entry read before it is written", PACK, _SYNC, "", 0),
    Fault("packing: indices within a tile", PACK,
          "int32_t(begin + i)", "int32_t(begin - tile + i)"),
    Fault("packing: misfits unnoticed", PACK, "if (misfits)", "if (misfits && zeros)"),
    # the perturbed pair
    Fault("pair: a quad's terms added in another order", PERTURB,
          "(sum.of[0] + sum.of[2]) + (sum.of[1] + sum.of[3])",
          "(sum.of[0] + sum.of[1]) + (sum.of[2] + sum.of[3])"),
    Fault("pair: normals behind the end in the norm", PERTURB,
          "i < n ? term(A(g[i]), A(g[i])) : A(0)", "term(A(g[i]), A(g[i]))"),
    Fault("pair: every group has the norm of its first row", PERTURB,
          "squares[group.row]", "squares[0]"),
    Fault("pair: directions as the noise", PERTURB,
          "stream_of(p, Purpose::noise)", "stream_of(p, Purpose::directions)"),
    Fault("pair: the second half written over the first rows", PERTURB,
          "out + p.rows * p.dim", "out + p.dim"),
]  # fmt: skip
