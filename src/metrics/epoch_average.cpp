#include "metrics/epoch_average.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace millrace {

void EpochAverage::add(double loss) {
  if (!std::isfinite(loss)) return;
  if (steps_per_epoch_ > 0) {
    if (count_ >= steps_per_epoch_) drop_oldest();
    losses_.push_back(loss);
  }
  total_ += loss;
  ++count_;
}

void EpochAverage::drop_oldest() {
  total_ -= losses_.front();
  losses_.pop_front();
  --count_;
}

double EpochAverage::value() const {
  return count_ == 0 ? std::numeric_limits<double>::quiet_NaN() : total_ / static_cast<double>(count_);
}

std::string EpochAverage::state() const {
  return nlohmann::json{{"losses", losses_}, {"total", total_}, {"count", count_}}.dump();
}

void EpochAverage::restore(const std::string& state) {
  try {
    const nlohmann::json saved = nlohmann::json::parse(state);
    losses_ = saved.at("losses").get<std::deque<double>>();
    total_ = saved.at("total").get<double>();
    count_ = saved.at("count").get<int64_t>();
  } catch (const nlohmann::json::exception& error) {
    throw StorageError(std::string("[checkpoint state] expected the losses of an epoch, got: ") + error.what());
  }
  if (steps_per_epoch_ > 0 && count_ != std::ssize(losses_)) {  // epochs were unknown before
    *this = EpochAverage(steps_per_epoch_);
  }
  while (steps_per_epoch_ > 0 && count_ > steps_per_epoch_) drop_oldest();
}

}  // namespace millrace
