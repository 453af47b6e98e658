#include "comm/self_check.h"

#include <functional>

#include "base/clock.h"
#include "base/log.h"

namespace millrace {
namespace {

// The input of a rank of the group: small fractions, different for every rank and position.
torch::Tensor input_of(int group_rank, int64_t count, torch::Dtype dtype) {
  const torch::Tensor place = torch::arange(count, torch::kFloat64);
  return torch::sin(place * 0.37 + 1.7 * (group_rank + 1)).to(dtype);
}

torch::Tensor sum_of_inputs(int ranks, int64_t count, torch::Dtype dtype) {
  torch::Tensor sum = torch::zeros({count}, torch::kFloat64);
  for (int rank = 0; rank < ranks; ++rank) sum += input_of(rank, count, dtype).to(torch::kFloat64);
  return sum;
}

double worst_error(const torch::Tensor& got, const torch::Tensor& expected) {
  const double scale = expected.abs().max().item<double>();
  const double error = (got.cpu().to(torch::kFloat64) - expected).abs().max().item<double>() / scale;
  return error == error ? error : 1e30;  // a NaN is not a small error
}

class Checker {
 public:
  Checker(Communicator& ranks, torch::Device device, int64_t count) : ranks_(ranks), device_(device), count_(count) {}

  void check_group(Group& group) {
    for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) check(group, dtype);
  }
  std::vector<CollectiveCheck> take() { return std::move(checks_); }

 private:
  void check(Group& group, torch::Dtype dtype) {
    const int size = group.size(), rank = group.rank();
    const int64_t total = count_ * size;
    // A sum of n terms rounds at most n - 1 times; NCCL and Gloo's all_reduce round to bfloat16 each time.
    const double rounding = dtype == torch::kFloat32 ? 1.2e-7 : 7.9e-3;
    const torch::Tensor own = input_of(rank, total, dtype).to(device_);
    const torch::Tensor sum = sum_of_inputs(size, total, dtype);
    const double allowed = rounding * size;

    std::vector<torch::Tensor> shards;
    for (int other = 0; other < size; ++other) shards.push_back(input_of(other, count_, dtype));
    torch::Tensor full = torch::empty({total}, own.options());
    const torch::Tensor shard = input_of(rank, count_, dtype).to(device_);
    run(group, "all_gather", dtype, full, 0, torch::cat(shards).to(torch::kFloat64),
        [&] { group.all_gather(full, shard).wait(); });

    torch::Tensor part = torch::empty({count_}, own.options());
    run(group, "reduce_scatter", dtype, part, allowed, sum.narrow(0, rank * count_, count_),
        [&] { group.reduce_scatter(part, own).wait(); });

    torch::Tensor inout = own.clone();
    run(group, "all_reduce", dtype, inout, allowed, sum, [&] { group.all_reduce(inout).wait(); });

    torch::Tensor message = own.clone();
    run(group, "broadcast", dtype, message, 0, input_of(size - 1, total, dtype).to(torch::kFloat64),
        [&] { group.broadcast(message, size - 1).wait(); });
  }

  void run(Group& group, const char* collective, torch::Dtype dtype, const torch::Tensor& result, double allowed,
           const torch::Tensor& expected, const std::function<void()>& call) {
    group.barrier();
    const double start = now_seconds();
    call();
    if (device_.is_cuda()) result.narrow(0, 0, 1).cpu();  // waits for the GPU
    const double seconds = now_seconds() - start;
    const double error = worst_error(result, expected);
    torch::Tensor worst = torch::tensor({error, seconds}, torch::kFloat64).to(device_);
    ranks_.mesh().world().all_reduce(worst, Reduce::kMax).wait();
    worst = worst.cpu();
    checks_.push_back({.name = str(collective, " on ", group.name(), ", ", group.size(), " ranks, ",
                                   dtype == torch::kFloat32 ? "float32" : "bfloat16"),
                       .error = worst[0].item<double>(),
                       .allowed = allowed,
                       .seconds = worst[1].item<double>(),
                       .bytes = count_ * group.size() * static_cast<int64_t>(result.element_size())});
  }

  Communicator& ranks_;
  torch::Device device_;
  int64_t count_;
  std::vector<CollectiveCheck> checks_;
};

}  // namespace

MeshShape shape_for_check(int ranks) {
  MeshShape shape;
  shape.dp_shard = ranks;
  if (shape.dp_shard % 2 == 0 && shape.dp_shard > 2) {
    shape.dp_replicate = 2;
    shape.dp_shard /= 2;
  }
  if (shape.dp_shard % 2 == 0 && shape.dp_shard > 2) {
    shape.tp = 2;
    shape.dp_shard /= 2;
  }
  return shape;
}

std::vector<CollectiveCheck> check_collectives(Communicator& ranks, torch::Device device, int64_t count) {
  const torch::NoGradGuard no_grad;
  Checker checker(ranks, device, count);
  for (const MeshAxis axis :
       {MeshAxis::kReplicate, MeshAxis::kShard, MeshAxis::kTp, MeshAxis::kData, MeshAxis::kWorld}) {
    Group& group = ranks.mesh().group(axis);
    if (group.size() > 1) checker.check_group(group);
  }
  return checker.take();
}

}  // namespace millrace
