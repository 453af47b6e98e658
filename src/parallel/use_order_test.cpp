#include "parallel/use_order.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace millrace {
namespace {

constexpr size_t kNone = UseOrder::kNone;

TEST(UseOrder, IsAscendingUnlessTold) {
  UseOrder order({}, 3);
  for (int pass = 0; pass < 2; ++pass) {
    EXPECT_EQ(order.forward(0).next, 1u);
    EXPECT_EQ(order.forward(1).next, 2u);
    EXPECT_EQ(order.forward(2).next, kNone);
    EXPECT_EQ(order.backward(2).next, 1u);
    EXPECT_EQ(order.backward(1).next, 0u);
    EXPECT_EQ(order.backward(0).next, kNone);
  }
}

TEST(UseOrder, ATiedUnitIsCompleteAfterItsLastUseOfAPass) {
  UseOrder order({0, 1, 2, 0}, 3);
  for (int pass = 0; pass < 2; ++pass) {
    const UseOrder::Use first = order.forward(0);
    EXPECT_EQ(first.next, 1u);
    EXPECT_FALSE(first.completes_unit);
    EXPECT_FALSE(first.ends_pass);
    order.forward(1);
    EXPECT_EQ(order.forward(2).next, 0u);
    const UseOrder::Use last = order.forward(0);
    EXPECT_EQ(last.next, kNone);
    EXPECT_TRUE(last.completes_unit && last.ends_pass);

    const UseOrder::Use back = order.backward(0);
    EXPECT_EQ(back.next, 2u);
    EXPECT_FALSE(back.completes_unit);
    order.backward(2);
    EXPECT_EQ(order.backward(1).next, 0u);
    EXPECT_TRUE(order.backward(0).completes_unit);
  }
}

TEST(UseOrder, ForwardPassesMayFollowEachOtherOrBreakOff) {
  UseOrder order({0, 1, 2, 0}, 3);
  for (const size_t unit : {0, 1, 2, 0}) order.forward(unit);
  EXPECT_EQ(order.forward(0).next, 1u);  // a pass without a backward pass came before
  order.forward(1);
  EXPECT_EQ(order.forward(0).next, 1u);  // the one before broke off
  order.backward(0);
  order.backward(2);
  EXPECT_EQ(order.backward(0).next, 2u);
}

TEST(UseOrder, NamesEveryUnit) {
  EXPECT_THROW(UseOrder({0, 2}, 3), LogicError);
  EXPECT_THROW(UseOrder({0, 1, 3, 2}, 3), LogicError);
}

}  // namespace
}  // namespace millrace
