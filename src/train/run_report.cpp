#include "train/run_report.h"

#include "base/log.h"
#include "metrics/report.h"
#include "nn/device.h"

namespace millrace {

void update_report(const RunConfig& config, torch::Device device, int ranks, bool finished) {
  if (!config.report.enable) return;
  ReportOptions options;
  options.finished = finished;
  const std::string name = device_name(device);
  if (!name.empty()) options.hardware = ranks > 1 ? str(ranks, " x ", name) : name;
  try {
    write_report(config.job.dump_folder, options);
  } catch (const std::exception& error) {
    log_warning("could not write report.html: ", error.what());  // a page about the run must not end the run
  }
}

}  // namespace millrace
