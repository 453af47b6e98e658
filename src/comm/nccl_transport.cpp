#include "comm/nccl_transport.h"

#include <dlfcn.h>
#include <unistd.h>

#include <exception>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "comm/c10d_work.h"
#include "comm/nccl_module.h"

namespace millrace {
namespace {

class NcclTransport : public Transport {
 public:
  NcclTransport(c10::intrusive_ptr<c10d::Backend> backend, torch::Device device, FailureHandler on_failure)
      : backend_(std::move(backend)), device_(device), on_failure_(std::move(on_failure)) {}
  // Waits for no other rank: they may be gone.
  ~NcclTransport() override { NcclTransport::abort(); }

  std::string kind() const override { return "nccl"; }

  std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) override {
    return start("all_gather", {full, shard}, [&] { return backend_->_allgather_base(full, shard); });
  }
  std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) override {
    return start("reduce_scatter", {shard, full}, [&] { return backend_->_reduce_scatter_base(shard, full); });
  }
  std::shared_ptr<PendingWork> all_reduce(torch::Tensor inout, Reduce op) override {
    c10d::AllreduceOptions options;
    options.reduceOp = op == Reduce::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    std::vector<at::Tensor> tensors = {inout};
    return start("all_reduce", tensors, [&] { return backend_->allreduce(tensors, options); });
  }
  std::shared_ptr<PendingWork> broadcast(torch::Tensor inout, int root) override {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<at::Tensor> tensors = {inout};
    return start("broadcast", tensors, [&] { return backend_->broadcast(tensors, options); });
  }
  std::shared_ptr<PendingWork> barrier() override {
    c10d::BarrierOptions options;
    options.device = device_;
    return start("barrier", {}, [&] { return backend_->barrier(options); });
  }
  void abort() override {
    try {
      backend_->abort();
    } catch (const std::exception& error) {
      log_warning("could not stop NCCL: ", error.what());  // shutting down anyway
    }
  }

 private:
  template <typename Start>
  std::shared_ptr<PendingWork> start(const char* collective, std::vector<torch::Tensor> tensors, Start begin) {
    try {
      return std::make_shared<C10dWork>(begin(), std::move(tensors), collective, on_failure_);
    } catch (const std::exception& error) {
      on_failure_(collective, error.what());
      throw;
    }
  }

  c10::intrusive_ptr<c10d::Backend> backend_;
  torch::Device device_;
  FailureHandler on_failure_;
};

MakeNcclBackend load_module() {
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / kNcclModule;
  if (!std::filesystem::exists(path)) {
    throw ConfigError("[comm.backend] expected a build with NCCL, got none: " + path.string() +
                      " is not there (try building where a CUDA toolkit and NCCL's headers are)");
  }
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) throw ConfigError(std::string("[comm.backend] expected NCCL to load, got: ") + dlerror());
  void* function = dlsym(module, kMakeNcclBackend);
  if (function == nullptr) {
    throw ConfigError("[" + path.string() + "] expected " + kMakeNcclBackend + ", got a file without it");
  }
  return reinterpret_cast<MakeNcclBackend>(function);
}

// c10d's watchdog throws on its own thread when a collective fails or is late, which would end the process by SIGABRT.
// A fault of this rank's own GPU still ends it that way, like any uncaught exception.
void leave_when_the_watchdog_throws() {
  static const std::terminate_handler previous = std::get_terminate();
  std::set_terminate([] {
    std::string what;
    try {
      if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
    } catch (const std::exception& error) {
      what = error.what();
    } catch (...) {
    }
    const std::string line = what.substr(0, what.find('\n'));  // below it are the names of functions
    const auto says = [&](const char* word) { return line.find(word) != std::string::npos; };
    if (!(says("NCCL") || says("Watchdog")) || says("CUDA error") || says("HIP error")) previous();
    // Past the log's locks: the main thread may hold them.
    const std::string message = "millrace: [nccl] expected all ranks to take part, got: " + line + "\n";
    [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, message.data(), message.size());
    ::_exit(static_cast<int>(ExitCode::kPeerLost));
  });
}

}  // namespace

std::shared_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               torch::Device device, const std::string& name, double timeout,
                                               FailureHandler on_failure) {
  static const MakeNcclBackend make = [] {
    leave_when_the_watchdog_throws();
    return load_module();
  }();
  try {
    auto backend =
        make({.store = store, .rank = rank, .size = size, .device = device, .name = name, .timeout = timeout});
    return std::make_shared<NcclTransport>(std::move(backend), device, on_failure);
  } catch (const std::exception& error) {
    on_failure("connecting", error.what());
    throw;
  }
}

}  // namespace millrace
