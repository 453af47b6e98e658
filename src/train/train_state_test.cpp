// What checkpoints hold of each optimizer's state, put together from ranks that are not there.
#include "train/train_state.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "comm/communicator.h"
#include "config/optimizer_rules.h"
#include "nn/linear.h"
#include "optim/optimizer_table.h"
#include "train/parameter_group.h"
#include "train/two_units_test_support.h"

namespace millrace {
namespace {

struct Saved {
  std::vector<int64_t> shape;
  int64_t elements = 0;  // that some rank saves
};

// By name, over all ranks.
std::map<std::string, Saved> saved_by_all(const OptimizerConfig& config, const MeshShape& shape) {
  std::map<std::string, Saved> saved;
  for (int rank = 0; rank < shape.size(); ++rank) {
    const std::shared_ptr<Communicator> ranks = fake(shape.size(), rank, {.shape = shape});
    const Linear a(71, 67), b(17, 5);  // a.weight: more than 4096 elements, b.weight fewer
    FlatParametersOptions options;
    options.training = true;
    options.mesh = &ranks->mesh();
    FlatParameters flat(two_units(a, b), options);
    const auto optimizer =
        make_optimizer({.groups = {parameter_group(flat)}, .config = config, .ranks = RankSums(ranks->mesh())});
    for (const NamedPiece& piece : checkpoint_pieces(flat, *optimizer, nullptr)) {
      check_piece(piece);
      Saved& of = saved[piece.name];
      if (of.shape.empty()) of.shape = piece.global_shape;
      EXPECT_EQ(of.shape, piece.global_shape) << piece.name;
      if (piece.saved) of.elements += piece.data.numel();
    }
  }
  return saved;
}

OptimizerConfig config_of(const char* rule) {
  OptimizerConfig config;
  config.name = rule;
  if (config.name == "SGD") config.momentum = 0.9;
  return config;
}

TEST(TrainState, EveryElementOfEveryRulesStateIsSavedOnce) {
  for (const OptimizerRule& rule : optimizer_rules()) {
    const auto alone = saved_by_all(config_of(rule.name), {});
    for (const MeshShape& shape :
         {MeshShape{}, MeshShape{.dp_shard = 3}, MeshShape{.dp_replicate = 2, .dp_shard = 2}}) {
      const auto saved = saved_by_all(config_of(rule.name), shape);
      EXPECT_EQ(saved.size(), alone.size()) << rule.name;
      for (const auto& [name, of] : saved) {
        EXPECT_EQ(of.elements, c10::multiply_integers(of.shape)) << rule.name << " " << name << " " << to_string(shape);
      }
    }
  }
}

TEST(TrainState, NamesTensorsAfterTheirParameters) {
  const auto names = [](const char* rule) {
    std::set<std::string> all;
    for (const auto& [name, of] : saved_by_all(config_of(rule), {})) {
      if (name.find("model.") != 0 && name.find(".b.") == std::string::npos) all.insert(name);
    }
    return all;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(names("AdamW"), (Names{"optimizer.state.a.weight.exp_avg", "optimizer.state.a.weight.exp_avg_sq",
                                   "optimizer.state.a.bias.exp_avg", "optimizer.state.a.bias.exp_avg_sq"}));
  EXPECT_EQ(names("AdamW8bit"), (Names{"optimizer.state.a.weight.state1", "optimizer.state.a.weight.state2",
                                       "optimizer.state.a.weight.absmax1", "optimizer.state.a.weight.absmax2",
                                       "optimizer.state.a.bias.exp_avg", "optimizer.state.a.bias.exp_avg_sq"}));
  EXPECT_EQ(names("Adafactor"),
            (Names{"optimizer.state.a.weight.exp_avg_sq_row", "optimizer.state.a.weight.exp_avg_sq_col",
                   "optimizer.state.a.bias.exp_avg_sq"}));
  EXPECT_EQ(names("AdamWScheduleFree"),
            (Names{"ema.a.weight", "ema.a.bias", "optimizer.state.a.weight.z", "optimizer.state.a.weight.exp_avg_sq",
                   "optimizer.state.a.bias.z", "optimizer.state.a.bias.exp_avg_sq", "optimizer.weight_sum",
                   "optimizer.lr_max"}));
}

}  // namespace
}  // namespace millrace
