// Gradients of one unit at a time.
#include <gtest/gtest.h>

#include "base/log.h"
#include "nn/linear.h"
#include "parallel/flat_parameters.h"

namespace millrace {
namespace {

struct Handed {
  size_t unit;
  const void* memory;
  torch::Tensor grad;
};

class HandedGradientsTest : public testing::Test {
 protected:
  static FlatParametersOptions options() {
    FlatParametersOptions options;
    options.training = options.hands_over_gradients = true;
    return options;
  }
  void receive(FlatParameters& flat) {
    flat.receive_gradients([this](size_t unit, const torch::Tensor& grad) {
      handed_.push_back({unit, grad.data_ptr(), grad.clone()});
    });
  }
  // A backward pass of a unit that adds this number to every gradient.
  static void add(FlatParameters& flat, size_t unit, const Linear& layer, double number) {
    const torch::NoGradGuard no_grad;
    const UnitUse use = flat.backward_unit(unit);
    layer.plain_weight().grad().add_(number);
    layer.bias().grad().add_(number);
  }
  static UnitSpec unit_of(const char* name, const Linear& layer) {
    return {name, {{str(name, ".weight"), layer.plain_weight()}, {str(name, ".bias"), layer.bias()}}};
  }

  Linear a_{31, 17}, b_{31, 17};
  std::vector<Handed> handed_;
};

TEST_F(HandedGradientsTest, UnitsTakeTurnsWithTheSameMemory) {
  FlatParameters flat({unit_of("a", a_), unit_of("b", b_)}, options());
  EXPECT_TRUE(flat.are_trained());
  EXPECT_FALSE(flat.grad().defined());
  receive(flat);
  for (int step = 0; step < 2; ++step) {
    add(flat, 1, b_, 2);
    add(flat, 0, a_, 3);
  }
  ASSERT_EQ(handed_.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(handed_[i].unit, i % 2 == 0 ? 1u : 0u);
    EXPECT_EQ(handed_[i].memory, handed_[0].memory);
    EXPECT_EQ(handed_[i].grad.max().item<float>(), i % 2 == 0 ? 2 : 3);
    EXPECT_EQ(handed_[i].grad.sum().item<float>(), (i % 2 == 0 ? 2 : 3) * 32 * 17) << "and zeros in the padding";
  }
  EXPECT_FALSE(a_.plain_weight().grad().defined());
}

TEST_F(HandedGradientsTest, AUnitOfSeveralPassesIsHandedOverInTheLast) {
  FlatParameters flat({unit_of("a", a_), unit_of("b", b_)}, options());
  receive(flat);
  for (const bool last : {false, true}) {
    flat.set_last_microbatch(last);
    add(flat, 1, b_, 2);
    add(flat, 0, a_, 3);
  }
  ASSERT_EQ(handed_.size(), 2u);
  EXPECT_EQ(handed_[0].grad.max().item<float>(), 4);
  EXPECT_EQ(handed_[1].grad.max().item<float>(), 6);
}

// As a tied embedding: the first and the last of a backward pass.
TEST_F(HandedGradientsTest, AUnitThatIsUsedTwiceIsHandedOverOnce) {
  FlatParameters flat({unit_of("a", a_), unit_of("b", b_)}, options(), {0, 1, 0});
  receive(flat);
  add(flat, 0, a_, 1);
  add(flat, 1, b_, 2);
  add(flat, 0, a_, 3);
  ASSERT_EQ(handed_.size(), 2u);
  EXPECT_EQ(handed_[0].unit, 1u);
  EXPECT_EQ(handed_[1].unit, 0u);
  EXPECT_EQ(handed_[1].grad.max().item<float>(), 4);
}

}  // namespace
}  // namespace millrace
