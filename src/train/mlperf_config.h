// Whether a run keeps an MLPerf log, and the log's values that no other section has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/option.h"

namespace millrace {

struct MlperfLogConfig {
  std::optional<bool> mlperf_logging;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(mlperf_logging, {.name = "mlperf_logging",
                           .meaning = "write the MLPerf log to stdout and mlperf_compliance.log; None: when "
                                      "validation.freq_samples and validation.target_loss are set",
                           .torchtitan_default = "true in the MLPerf branch"});
  }
  bool operator==(const MlperfLogConfig&) const = default;
};

struct MlperfConfig {
  std::string benchmark = "flux1";
  std::string ruleset = "6.1.0";
  std::string submission_division = "closed";
  std::string submission_org = "reference";
  std::string submission_platform = "reference";
  std::string submission_poc_name = "reference";
  std::string submission_poc_email = "reference";
  std::string submission_status = "onprem";
  int64_t train_samples = 1099776;
  int64_t eval_samples = 29696;
  std::optional<double> target_accuracy;
  std::string config_filename;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(benchmark, {.name = "benchmark", .meaning = "submission_benchmark of the log"});
    visit(ruleset, {.name = "ruleset",
                    .meaning = "version of the rules that the log follows: 6.1.0 requires evaluation_frequency in "
                               "whole steps, earlier ones validation.freq_samples unchanged",
                    .choices = {"5.1.0", "6.0.0", "6.1.0"}});
    visit(submission_division,
          {.name = "submission_division", .meaning = "division of the submission", .choices = {"closed", "open"}});
    visit(submission_org, {.name = "submission_org", .meaning = "who submits"});
    visit(submission_platform, {.name = "submission_platform", .meaning = "name of the measured system"});
    visit(submission_poc_name, {.name = "submission_poc_name", .meaning = "name of the contact person"});
    visit(submission_poc_email, {.name = "submission_poc_email", .meaning = "e-mail address of the contact person"});
    visit(submission_status, {.name = "submission_status", .meaning = "kind of system: onprem, cloud or research"});
    visit(train_samples, {.name = "train_samples",
                          .unit = "samples",
                          .meaning = "size of the training set, for the log; the default is the benchmark's",
                          .at_least = 1});
    visit(eval_samples, {.name = "eval_samples",
                         .unit = "samples",
                         .meaning = "size of the validation set, for the log; the default is the benchmark's",
                         .at_least = 1});
    visit(
        target_accuracy,
        {.name = "target_accuracy", .meaning = "target that the log states; None: validation.target_loss", .above = 0});
    visit(config_filename, {.name = "config_filename",
                            .meaning = "configuration that the log names; empty: config.toml in job.dump_folder, "
                                       "which holds every option"});
  }
  bool operator==(const MlperfConfig&) const = default;
};

}  // namespace millrace
