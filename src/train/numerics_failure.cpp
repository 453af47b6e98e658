#include "train/numerics_failure.h"

#include <cmath>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "formats/unusable_tensor.h"
#include "kernels/global_norm/global_norm.h"
#include "optim/clip.h"
#include "train/rank_peers.h"

namespace millrace {
namespace {

// "; FILE: TENSOR: what is wrong", or "". Only a hint: what cannot be read any more is none.
std::string fault_in_files(const Task& task) {
  ThreadPool pool(static_cast<int>(std::thread::hardware_concurrency()));
  for (const WeightSource& source : task.weight_sources()) {
    try {
      WeightStore store(source.path);
      if (!source.prefix.empty()) store.narrow_to(source.prefix);
      const std::optional<UnusableTensor> found = first_unusable_tensor(store, &pool, source.largest);
      if (found) return str(store.file_of(found->name).string(), ": ", found->name, ": ", found->what);
    } catch (const Error& error) {
      log_warning(source.path.string(), " is not searched for numbers that are not finite: ", error.what());
    }
  }
  return "";
}

std::string fault_in_parameters(const std::vector<FlatGroup>& groups) {
  for (const FlatGroup& group : groups) {
    const int64_t index = first_nonfinite(group.master);
    if (index < 0) continue;
    return str("the trained ", describe_element(group, index), " is ", group.master[index].item<double>());
  }
  return "";
}

}  // namespace

void throw_numerics_error(int64_t step, const StepShare& share, const StepTotals& totals, const Task& task,
                          const std::vector<FlatGroup>& groups, Communicator& ranks, Peers& peers) {
  const char* way_out =
      " (try a lower optimizer.lr or more lr_scheduler.warmup_steps; this step changed and saved nothing)";
  const std::string place =
      str("[step ", step, peers.size() > 1 ? str(", rank ", peers.rank(), " on ", ranks.world().host) : std::string(),
          "] ");
  std::string own, in_files;
  if (totals.bad_losses > 0) {
    const auto search = [&] { return ranks.world().local_rank == 0 ? fault_in_files(task) : std::string(); };
    in_files = first_message(peers, str("weight files at step ", step), search);
  }
  const double own_loss = share.loss_1.item<double>();
  if (!std::isfinite(own_loss)) {
    own = str(place, "expected a finite loss, got ", own_loss);
    const std::string in_parameters = fault_in_parameters(groups);
    if (!in_files.empty()) {
      own += str(" from weights that are not finite: ", in_files, " (try another copy of the file)");
    } else {
      own += str(in_parameters.empty() ? "" : ": ", in_parameters, way_out);
    }
  } else if (!share.bad_gradient.empty()) {
    own = place + share.bad_gradient;
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
