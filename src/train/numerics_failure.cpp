#include "train/numerics_failure.h"

#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "optim/clip.h"
#include "train/rank_peers.h"

namespace millrace {

void throw_numerics_error(int64_t step, const StepShare& share, const StepTotals& totals,
                          const std::vector<FlatGroup>& groups, Communicator& ranks, Peers& peers) {
  const char* way_out =
      " (try a lower optimizer.lr or more lr_scheduler.warmup_steps; this step changed and saved nothing)";
  const std::string place =
      str("[step ", step, peers.size() > 1 ? str(", rank ", peers.rank(), " on ", ranks.world().host) : std::string(),
          "] ");
  std::string own;
  const double own_loss = share.loss_1.item<double>();
  if (!std::isfinite(own_loss)) {
    own = str(place, "expected a finite loss, got ", own_loss, way_out);
  } else if (totals.bad_losses == 0) {  // a bad loss spoils the gradients of every rank, which are not the cause then
    try {
      finite_norm(grad_norm_of_sum(share.squares_1, /*max_norm=*/0), groups);
    } catch (const NumericsError& error) {
      own = place + error.what();
    }
  }
  const std::string first = first_message(peers, str("numerics at step ", step), own);
  throw NumericsError(!first.empty()
                          ? first
                          : str("[step ", step, "] expected a loss and a gradient norm that float32 can ",
                                "hold, got loss ", totals.loss_sum, " and norm ", std::sqrt(totals.squares), way_out));
}

}  // namespace millrace
