// Saves and loads a state of some size when told to by lines on stdin; answers each with a line of JSON. See run.py.
#include <torch/types.h>

#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "checkpoint/checkpointer.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

// The same tensors as worker.py's: weights and two moments of layers of equal size.
std::vector<NamedTensor> make_state(int64_t num_tensors, int64_t rows) {
  std::vector<NamedTensor> state;
  for (int64_t i = 0; i < num_tensors; ++i) {
    state.push_back({"tensor." + std::to_string(i), torch::rand({rows, 2048})});
  }
  return state;
}

// One plain copy of all of it into memory that was used before, on one thread and on all of torch's.
Json memory_copy(const std::vector<NamedTensor>& state) {
  std::vector<torch::Tensor> targets;
  for (const NamedTensor& named : state) targets.push_back(named.tensor.clone());
  Json answer;
  double begin = now_seconds();
  for (size_t i = 0; i < state.size(); ++i) {
    std::memcpy(targets[i].data_ptr(), state[i].tensor.data_ptr(), state[i].tensor.nbytes());
  }
  answer["one_thread"] = now_seconds() - begin;
  begin = now_seconds();
  for (size_t i = 0; i < state.size(); ++i) targets[i].copy_(state[i].tensor);
  answer["all_threads"] = now_seconds() - begin;
  return answer;
}

double checksum(const std::vector<NamedTensor>& state) {
  double sum = 0;
  for (const NamedTensor& named : state) sum += named.tensor.view(-1)[named.tensor.numel() / 2].item<double>();
  return sum;
}

void serve(const std::string& folder, int64_t num_tensors, int64_t rows) {
  const std::vector<NamedTensor> state = make_state(num_tensors, rows);
  Checkpointer checkpointer({folder, 1, /*async=*/true});
  std::printf("{}\n");
  std::fflush(stdout);
  int64_t step = 0;
  for (std::string command; std::getline(std::cin, command);) {
    Json answer;
    const double begin = now_seconds();
    if (command == "reserve") {
      checkpointer.reserve(whole_pieces(state));
      checkpointer.wait();
      answer["seconds"] = now_seconds() - begin;
    } else if (command == "copy") {
      answer = memory_copy(state);
    } else if (command == "save") {
      checkpointer.save(++step, state, "{}");
      answer["blocked"] = now_seconds() - begin;
      checkpointer.wait();
      answer["complete"] = now_seconds() - begin;
    } else if (command == "load") {
      const double before = checksum(state);
      for (const NamedTensor& named : state) named.tensor.zero_();
      const double load_begin = now_seconds();
      checkpointer.load().copy_into(state);
      answer["seconds"] = now_seconds() - load_begin;
      answer["same"] = checksum(state) == before;
    }
    std::printf("%s\n", answer.dump().c_str());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s FOLDER TENSORS ROWS\n", argv[0]);
    return 2;
  }
  millrace::serve(argv[1], std::stoll(argv[2]), std::stoll(argv[3]));
  return 0;
}
