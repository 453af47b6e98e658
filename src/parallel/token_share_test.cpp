#include "parallel/token_share.h"

#include <gtest/gtest.h>

#include "comm/socket_ranks_test_support.h"

namespace millrace {
namespace {

torch::Tensor rows(int64_t tokens, double first) {
  return torch::arange(tokens * 2, torch::kFloat32).view({tokens, 2}) + first;
}

TEST(TokenShare, RanksHaveTheirRowsOfTheSumAndGatherThemAgain) {
  for (const int64_t tokens : {1, 6, 7, 8}) {
    as_ranks(3, {.tp = 3}, [&](Communicator& ranks) {
      Group& tp = ranks.mesh().tp();
      const TokenShare share(&tp, tokens, /*divides=*/true);
      EXPECT_EQ(share.own_tokens(), (tokens + 2) / 3);
      EXPECT_EQ(share.divided(), &tp);
      const torch::Tensor own_UD = share.sum(rows(tokens, tp.rank()));
      const torch::Tensor expected = 3 * rows(tokens, 1);
      EXPECT_EQ(own_UD.size(0), share.own_tokens());
      EXPECT_TRUE(share.gather(own_UD).equal(expected)) << tokens;
      EXPECT_TRUE(share.own_rows(expected).equal(own_UD)) << tokens << " on rank " << tp.rank();
    });
  }
}

TEST(TokenShare, UndividedEveryRankHasTheWholeSum) {
  as_ranks(2, {.tp = 2}, [&](Communicator& ranks) {
    Group& tp = ranks.mesh().tp();
    const TokenShare share(&tp, 5, /*divides=*/false);
    const torch::Tensor sum_TD = share.sum(rows(5, tp.rank()));
    EXPECT_TRUE(sum_TD.equal(2 * rows(5, 0.5)));
    EXPECT_EQ(share.gather(sum_TD).data_ptr(), sum_TD.data_ptr());
    EXPECT_EQ(share.divided(), nullptr);
  });
}

TEST(TokenShare, OneRankHasAllTokensAndSendsNothing) {
  const TokenShare share(nullptr, 5, /*divides=*/true);
  const torch::Tensor part_TD = rows(5, 0);
  EXPECT_EQ(share.own_tokens(), 5);
  EXPECT_EQ(share.sum(part_TD).data_ptr(), part_TD.data_ptr());
  EXPECT_EQ(share.own_rows(part_TD).data_ptr(), part_TD.data_ptr());
}

}  // namespace
}  // namespace millrace
