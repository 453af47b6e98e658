#include "parallel/flat_layout.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "parallel/parameter_piece.h"

namespace millrace {
namespace {

torch::Tensor shaped(c10::IntArrayRef shape) {
  return torch::zeros({1}).expand(shape);
}

// Odd sizes; qkv in three groups of rows, linear2 in two groups of columns.
const TensorSplit kRows = {0, {6, 6, 6}}, kColumns = {1, {6, 12}}, kWhole = {};

std::vector<UnitSpec> specs(int tp) {
  return {{"embedders", {{"in.weight", shaped({7, 3})}, {"in.bias", shaped({7})}}},
          {"modulation", {{"a", shaped({5, 3})}, {"b", shaped({11, 3})}}, /*packed=*/true},
          {"block",
           {{"qkv.weight", shaped({18 / tp, 13})}, {"linear2.weight", shaped({7, 18 / tp})}, {"scale", shaped({17})}},
           false,
           {kRows, kColumns, kWhole}}};
}

TEST(FlatLayout, UnitsDivideEvenlyAndParametersDoNotOverlap) {
  for (const int shard_size : {1, 2, 3, 5, 8}) {
    const FlatLayout layout(specs(1), shard_size, 0, 1, 0);
    int64_t position = 0;
    for (size_t i = 0; i < layout.units().size(); ++i) {
      const ParameterUnit& unit = layout.units()[i];
      EXPECT_EQ(unit.begin, position);
      EXPECT_EQ(unit.size % (64 * shard_size), 0);
      EXPECT_EQ(layout.own_begin(i) * shard_size, unit.begin);
      for (size_t j = unit.first_slice; j < unit.end_slice; ++j) {
        EXPECT_GE(layout.slices()[j].begin, position);
        position = layout.slices()[j].begin + layout.slices()[j].size;
      }
      EXPECT_LE(position, unit.begin + unit.size);
      position = unit.begin + unit.size;
    }
    EXPECT_EQ(position, layout.size());
    EXPECT_EQ(layout.own_size() * shard_size, layout.size());
  }
}

TEST(FlatLayout, PaddingIsSmall) {
  const FlatLayout layout(specs(1), 8, 3, 1, 0);
  EXPECT_LT(layout.size() - layout.num_parameters(), 3 * 64 * 8 + 5 * 64);
}

// Every rank writes its pieces' numbers into whole tensors: each element must be written once by a rank that speaks for
// it, and be right on every rank.
TEST(ParameterPieces, CoverEveryElementOnceForAnyMesh) {
  for (const int tp : {1, 2, 3, 6}) {
    for (const int shards : {1, 2, 3, 4, 7}) {
      std::map<std::string, torch::Tensor> whole, written;
      const FlatLayout global(specs(1), 1, 0, 1, 0);
      for (const ParameterSlice& slice : global.slices()) {
        whole[slice.name] = torch::arange(slice.size, torch::kFloat64).view(slice.shape);
        written[slice.name] = torch::zeros(slice.shape, torch::kFloat64);
      }
      for (int t = 0; t < tp; ++t) {
        for (int s = 0; s < shards; ++s) {
          const FlatLayout layout(specs(tp), shards, s, tp, t);
          EXPECT_EQ(layout.num_parameters(), global.num_parameters());
          torch::Tensor flat = torch::full({layout.own_size()}, -1, torch::kFloat64);
          int64_t owned = 0;
          for (const ParameterSlice& slice : layout.slices()) {
            const OwnRange own = layout.own_range(slice);
            const torch::Tensor part = slice.part.of(whole[slice.name]).reshape({-1});
            flat.slice(0, own.local, own.local + own.end - own.begin).copy_(part.slice(0, own.begin, own.end));
            int64_t in_pieces = 0;
            for (const ParameterPiece& piece : pieces_of(layout, slice)) {
              in_pieces += piece.size;
              const torch::Tensor view = piece.view(flat);
              ASSERT_EQ(view.numel(), piece.size);
              ASSERT_EQ(piece.global_shape, whole[piece.name].sizes().vec());
              const auto region = [&](const torch::Tensor& tensor) {
                if (!piece.is_box()) return tensor.view({-1}).narrow(0, piece.offset, piece.size);
                return tensor.narrow(0, piece.start[0], piece.shape[0]).narrow(1, piece.start[1], piece.shape[1]);
              };
              EXPECT_TRUE(at::equal(view, region(whole[piece.name])))
                  << piece.name << " tp " << tp << " shards " << shards;
              if (piece.primary) region(written[piece.name]).add_(1);
            }
            EXPECT_EQ(in_pieces, own.end - own.begin);
            owned += in_pieces;
          }
          EXPECT_LE(owned, layout.own_size());
        }
      }
      for (const auto& [name, count] : written) {
        EXPECT_TRUE(at::equal(count, torch::ones_like(count))) << name << " tp " << tp << " shards " << shards;
      }
    }
  }
}

TEST(TensorPart, TakesItsShareOfEveryGroup) {
  const torch::Tensor rows = torch::arange(12).view({12, 1});
  const TensorPart part{{0, {4, 8}}, 2, 1};
  EXPECT_TRUE(at::equal(part.of(rows).flatten(), torch::tensor({2, 3, 8, 9, 10, 11})));
  EXPECT_EQ(part.shape({12, 1}), (std::vector<int64_t>{6, 1}));
  EXPECT_EQ(part.global_shape({6, 1}), (std::vector<int64_t>{12, 1}));
  EXPECT_THROW(part.shape({13, 1}), LogicError);
  // Shares of what the parts do not divide differ by one.
  const TensorPart first{{0, {5, 7}}, 2, 0}, second{{0, {5, 7}}, 2, 1};
  EXPECT_EQ(first.shape({12, 1})[0], 5);
  EXPECT_EQ(second.shape({12, 1})[0], 7);
  const torch::Tensor odd = torch::arange(12);
  EXPECT_TRUE(torch::equal(first.of(odd), torch::tensor({0, 1, 5, 6, 7})));
  EXPECT_TRUE(torch::equal(second.of(odd), torch::tensor({2, 3, 4, 8, 9, 10, 11})));
}

}  // namespace
}  // namespace millrace
