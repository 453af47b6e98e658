// A collective that c10d runs.
#pragma once

#include <torch/csrc/distributed/c10d/Work.hpp>

#include <string>

#include "comm/transport.h"

namespace millrace {

class C10dWork : public PendingWork {
 public:
  // tensors are kept until the work is done.
  C10dWork(c10::intrusive_ptr<c10d::Work> work, std::vector<torch::Tensor> tensors, std::string collective,
           FailureHandler on_failure)
      : work_(std::move(work)),
        tensors_(std::move(tensors)),
        collective_(std::move(collective)),
        on_failure_(std::move(on_failure)) {}

  void wait() override {
    try {
      work_->wait();
    } catch (const std::exception& error) {
      on_failure_(collective_, error.what());
      throw;
    }
    tensors_.clear();
  }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  std::vector<torch::Tensor> tensors_;
  std::string collective_;
  FailureHandler on_failure_;
};

}  // namespace millrace
