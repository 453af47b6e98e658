// millrace download: models and data sets, from MLCommons and Hugging Face.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "download/catalogue.h"
#include "download/downloader.h"
#include "download/hugging_face.h"
#include "download/mlcommons.h"
#include "download/progress.h"
#include "metrics/console.h"
#include "train/stop_signals.h"
#include "version.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kDryRunRetries = 3;  // four seconds at most

struct Arguments {
  std::string what;
  fs::path output;
  FileFilter filter;
  int jobs = 4;
  bool dry_run = false, verify = false, list = false, no_space_check = false;
  RetryOptions retry;
  HttpClientOptions http;
  double progress_every = 10;
};

void add_options(ArgumentParser& app, Arguments& arguments) {
  app.add_option(
      "what", arguments.what,
      "A name from --list, hf:OWNER/NAME, hf:datasets/OWNER/NAME (either with @REVISION), dataset OWNER/NAME, or "
      "the URL of an MLCommons .uri file");
  app.add_option("-o,--output", arguments.output, "Folder for the files; by default named like the source");
  app.add_option("-j,--jobs", arguments.jobs, "Files at once")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_texts(
      "--include", arguments.filter.include,
      "Fetch only files that match this pattern (*, ?, [abc]; a * matches slashes too); may be given several times");
  app.add_texts("--exclude", arguments.filter.exclude,
                "Leave out files that match this pattern; may be given several times");
  app.add_flag("--dry-run", arguments.dry_run, "Print what would be fetched, and write nothing");
  app.add_flag("--verify", arguments.verify, "Verify the checksum of every existing file");
  app.add_flag("--list", arguments.list, "Print the names, their sizes and licences, and stop");
  app.add_option("--retries", arguments.retry.retries,
                 "Consecutive retries without progress before giving up; of --dry-run 3")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--connect-timeout", arguments.http.connect_seconds, "Seconds to reach a server")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app.add_option("--timeout", arguments.http.stall_seconds,
                 "Seconds below 1 KiB/s after which a transfer is aborted and retried")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--progress-every", arguments.progress_every, "Seconds between lines of progress, without a terminal")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app.add_flag("--no-space-check", arguments.no_space_check,
               "Do not check the free space first, for file systems that report it wrongly");
}

std::string environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

// The server of the named MLCommons data sets: MILLRACE_MLCOMMONS_ENDPOINT for a mirror.
Url mlcommons_uri(const std::string& name) {
  std::string endpoint = environment("MILLRACE_MLCOMMONS_ENDPOINT");
  if (endpoint.empty()) endpoint = "https://training.mlcommons-storage.org";
  while (ends_with(endpoint, "/")) endpoint.pop_back();
  const std::optional<Url> url = parse_url(endpoint + "/metadata/" + name + ".uri");
  if (!url || !url->is_safe())
    throw ConfigError("[MILLRACE_MLCOMMONS_ENDPOINT] expected an https URL, got " + endpoint);
  return *url;
}

// The request: exactly one of the two.
struct Wanted {
  std::optional<HubRepository> repository;
  std::optional<Url> uri;
  const CatalogueEntry* entry = nullptr;
  std::vector<PathRule> rules;  // the entry's, of this source
};

Wanted parse_wanted(const std::string& what) {
  Wanted wanted;
  if (starts_with(what, "hf:")) {
    wanted.repository = parse_repository(what.substr(3));
  } else if (what.find("://") != std::string::npos) {
    wanted.uri = parse_url(what);
    if (!wanted.uri || !wanted.uri->is_safe() || !ends_with(wanted.uri->path, ".uri")) {
      throw ConfigError("[millrace download " + what + "] expected an https URL that ends with .uri, got another");
    }
  } else if ((wanted.entry = find_in_catalogue(what)) != nullptr) {
    if (wanted.entry->where == CatalogueEntry::Where::kHuggingFace) {
      wanted.repository = parse_repository(wanted.entry->address);
    } else {
      wanted.uri = mlcommons_uri(wanted.entry->address);
    }
    wanted.rules = wanted.entry->rules;
  } else {
    const std::string suggestion = nearest(what, catalogue_names());
    throw ConfigError("[millrace download " + what + "] expected one of " + join(catalogue_names(), ", ") +
                      ", hf:OWNER/NAME or the URL of a .uri file" +
                      (std::count(what.begin(), what.end(), '/') == 1
                           ? " (try hf:" + what + ", or dataset " + what + ")"
                           : " (try " + (suggestion.empty() ? "--list" : suggestion) + ")"));
  }
  return wanted;
}

// The progress line: always shown on a terminal, periodically in a log.
class ProgressPrinter {
 public:
  explicit ProgressPrinter(double every) : every_(every), columns_(terminal_columns()) {}
  ~ProgressPrinter() {
    if (columns_ > 0 && !footer_.empty()) set_terminal_footer("");
  }

  void say(const std::string& line) { show(line); }
  void update(const DownloadProgress& progress) {
    const double now = now_seconds();
    rate_.update(now, progress.received);
    if (now >= next_) show(progress_line(progress, rate_.rate(), columns_));
  }

 private:
  void show(const std::string& line) {
    const double now = now_seconds();
    if (now < next_) return;
    if (columns_ > 0) {
      footer_ = line;
      set_terminal_footer(footer_);
      next_ = now + 0.2;
      return;
    }
    if (next_ > 0) log_info(line);
    next_ = now + every_;
  }

  double every_;
  int columns_;
  double next_ = 0;
  std::string footer_;
  RateMeter rate_;
};

std::string files_text(size_t count) {
  return with_thousands(static_cast<int64_t>(count)) + (count == 1 ? " file" : " files");
}

void print_plan(const DownloadPlan& plan, const Source& source, const fs::path& output) {
  for (const PlannedFile& planned : plan.files) {
    const std::string size = planned.file.size ? human_bytes(*planned.file.size) : "?";
    std::printf("%-9s %12s  %s\n", name_of(planned.status), size.c_str(), planned.file.path.c_str());
  }
  std::printf("%s from %s, %s in all; %s to fetch into %s, %s free there\n", files_text(plan.files.size()).c_str(),
              source.name.c_str(), human_bytes(plan.total_bytes).c_str(), human_bytes(plan.missing_bytes()).c_str(),
              output.string().c_str(), human_bytes(free_bytes(output)).c_str());
  if (plan.unknown_sizes > 0) std::printf("%s of unknown size not counted\n", files_text(plan.unknown_sizes).c_str());
}

void announce(const DownloadPlan& plan, const Source& source, const fs::path& output) {
  log_info(source.name, " -> ", output.string(), ": ", files_text(plan.files.size()), ", ",
           human_bytes(plan.total_bytes));
  if (!source.licence.empty())
    log_info("licence: ", source.licence, source.page.empty() ? "" : " (" + source.page + ")");
  if (plan.present_bytes > 0) {
    log_info("there already: ", files_text(plan.complete_count()), ", ", human_bytes(plan.present_bytes));
  }
  if (const size_t trusted = plan.count(FileStatus::kTrusted); trusted > 0) {
    log_info(files_text(trusted), " of them taken as complete by size alone (--verify compares the checksums)");
  }
  for (const PlannedFile& planned : plan.files) {
    if (planned.status == FileStatus::kStale) {
      log_warning("[", (output / planned.file.path).string(), "] expected ", planned.file.checksum.text(),
                  ", got another file; it is replaced when the right one is complete");
    }
  }
  if (plan.unknown_sizes > 0) log_warning(files_text(plan.unknown_sizes), " of unknown size, not counted");
}

void print_summary(const DownloadPlan& plan, const DownloadSummary& summary, const fs::path& output, double seconds) {
  if (!summary.failures.empty()) {
    throw DataError(str("[", output.string(), "] expected ", files_text(plan.files.size()), ", got all but ",
                        summary.failures.size(), ": ", summary.failures.front(),
                        summary.failures.size() > 1 ? ", and others above" : ""));
  }
  if (summary.files_fetched == 0) {
    std::cout << "All " << files_text(plan.files.size()) << " are there already: " << output.string() << "\n";
    return;
  }
  std::cout << "Fetched " << files_text(summary.files_fetched) << ", " << human_bytes(summary.received) << " in "
            << human_duration(seconds) << " ("
            << human_bytes(static_cast<uint64_t>(summary.received / std::max(seconds, 1e-3)))
            << "/s), checksums compared: " << output.string() << "\n";
}

int fetch(const Arguments& arguments, const Wanted& wanted) {
  Source source{.name = wanted.uri ? wanted.uri->shown() : "", .page = "", .licence = "", .token = {}};
  Url endpoint;
  if (wanted.repository) {
    endpoint = hub_endpoint(environment);
    source = hub_source(*wanted.repository, endpoint, hub_token(environment, endpoint));
  }
  if (wanted.entry != nullptr) source.licence = wanted.entry->licence;

  const StopSignals signals("stopping; the same command resumes", "second signal, exiting at once");
  HttpClientOptions http = arguments.http;
  http.user_agent = str("millrace/", program_version());
  HttpClient client(http);
  const DownloadContext context{.client = client, .source = source, .retry = arguments.retry, .stop = [&signals] {
                                  return signals.requested() != 0;
                                }};
  Listing listing =
      wanted.uri ? list_mlcommons(context, *wanted.uri) : list_repository(context, endpoint, *wanted.repository);
  fs::path output = arguments.output;
  if (output.empty()) {
    output = wanted.entry != nullptr && !wanted.entry->folder.empty() ? wanted.entry->folder : listing.default_folder;
  }
  if (wanted.repository && !wanted.repository->is_dataset && arguments.filter.include.empty()) {
    for (const std::string& path : leave_out_pickles(listing)) {
      log_info("left out: ", path, ", a pickle, which millrace does not open (--include takes it)");
    }
  }
  select_files(listing, wanted.rules, arguments.filter);

  ProgressPrinter printer(arguments.progress_every);
  const auto say = [&](const std::string& line) { printer.say(line); };
  const PlanOptions plan_options{.verify = arguments.verify, .jobs = arguments.jobs};
  if (arguments.dry_run) {
    print_plan(make_plan(context, listing.files, output, plan_options, say), source, output);
    return static_cast<int>(ExitCode::kDone);
  }

  const double start = now_seconds();
  const Folder root = Folder::open(output, true);
  const Folder state_folder = *open_state_folder(root, true);
  const DownloadLock lock(state_folder, output);
  const DownloadPlan plan = make_plan(context, listing.files, output, plan_options, say);
  announce(plan, source, output);
  if (!arguments.no_space_check) check_free_space(plan, output);
  const DownloadSummary summary = download(context, plan, output, arguments.jobs,
                                           [&](const DownloadProgress& progress) { printer.update(progress); });
  print_summary(plan, summary, output, now_seconds() - start);
  return static_cast<int>(ExitCode::kDone);
}

// `dataset OWNER/NAME` is hf:datasets/OWNER/NAME.
std::vector<std::string> in_one_word(std::vector<std::string> args) {
  if (args.size() < 2 || args[0] != "dataset" || starts_with(args[1], "-")) return args;
  args.erase(args.begin());
  if (args[0].find('/') == std::string::npos) {
    throw ConfigError("[millrace download dataset] expected OWNER/NAME, got " + args[0]);
  }
  args[0] = "hf:datasets/" + args[0];
  return args;
}

// An entry's repositories one after the other, into one folder.
int run(const Arguments& arguments) {
  Wanted wanted = parse_wanted(arguments.what);
  int status = fetch(arguments, wanted);
  if (wanted.entry == nullptr) return status;
  for (const CataloguePart& part : wanted.entry->more) {
    if (status != static_cast<int>(ExitCode::kDone)) break;
    wanted.repository = parse_repository(part.address);
    wanted.rules = part.rules;
    status = fetch(arguments, wanted);
  }
  return status;
}

}  // namespace

int run_download(const std::vector<std::string>& args) {
  ArgumentParser app{
      "Fetches models and data sets: continues where it stopped, verifies every checksum, and leaves complete files "
      "alone.\n"
      "A token for Hugging Face comes from HF_TOKEN or from the file of `hf auth login`.",
      "millrace download"};
  Arguments arguments;
  add_options(app, arguments);
  if (!parse_command_line(app, in_one_word(args))) return static_cast<int>(ExitCode::kDone);
  if (arguments.list) {
    std::cout << catalogue_text();
    return static_cast<int>(ExitCode::kDone);
  }
  if (arguments.what.empty()) {
    throw ConfigError("[millrace download] expected a name, hf:OWNER/NAME or the URL of a .uri file (try --list)");
  }
  // Somebody waits for the list.
  if (arguments.dry_run && app.count("--retries") == 0) arguments.retry.retries = kDryRunRetries;
  return run(arguments);
}

}  // namespace millrace
