// Reports as readable text.
#include <cstdio>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/inspect/inspect.h"
#include "formats/inspect/text_table.h"

namespace millrace {
namespace {

std::string count(const Report& value) {
  return with_thousands(value.get<int64_t>());
}
std::string bytes(const Report& value) {
  return human_bytes(value.get<uint64_t>());
}
std::string number(const Report& value) {
  return value.is_null() ? "-" : format_double("%.6g", value.get<double>());
}
std::string milliseconds(const Report& microseconds) {
  return microseconds.is_null() ? "-" : format_double("%.3f", microseconds.get<double>() / 1000);
}
std::string shape(const Report& value) {
  return value.dump();
}
// "1 tensor", "2 tensors"
std::string some(const Report& value, const std::string& what) {
  return count(value) + " " + what + (value.get<int64_t>() == 1 ? "" : "s");
}

const std::vector<std::string> kStatsHeadings = {">min", ">max", ">mean", ">std", ">non-finite"};

void add_stats(std::vector<std::string>& cells, const Report& stats) {
  for (const char* key : {"min", "max", "mean", "std"}) cells.push_back(number(stats[key]));
  cells.push_back(count(Report(stats["nan"].get<int64_t>() + stats["infinite"].get<int64_t>())));
}

std::string metadata_text(const Report& metadata) {
  TextTable table({"metadata", "value"});
  for (const auto& [key, value] : metadata.items()) table.add({key, value.get<std::string>()});
  return table.text();
}

std::string extensions_text(const Report& extensions) {
  TextTable table({"extension", ">members", ">bytes"});
  for (const auto& [name, sums] : extensions.items()) table.add({name, count(sums["count"]), bytes(sums["bytes"])});
  return table.text();
}

std::string weights_text(const Report& report) {
  const bool has_stats = report.contains("nan");
  std::vector<std::string> headings = {"tensor", "dtype", "shape", ">bytes"};
  if (has_stats) headings.insert(headings.end(), kStatsHeadings.begin(), kStatsHeadings.end());
  TextTable table(headings);
  for (const Report& tensor : report["tensors"]) {
    std::vector<std::string> cells = {tensor["name"], tensor["dtype"], shape(tensor["shape"]), bytes(tensor["bytes"])};
    if (has_stats) add_stats(cells, tensor["stats"]);
    table.add(std::move(cells));
  }
  std::string parts;
  for (const auto& [dtype, elements] : report["parameters_by_dtype"].items()) {
    parts += (parts.empty() ? "" : ", ") + dtype + " " + count(elements);
  }
  std::string text = some(Report(report["files"].size()), "safetensors file") + "\n" +
                     metadata_text(report["metadata"]) + table.text() + some(report["listed_count"], "tensor");
  if (report["listed_count"] != report["tensor_count"]) text += " of " + count(report["tensor_count"]);
  text += ", " + some(report["parameter_count"], "parameter") + (parts.empty() ? "" : " (" + parts + ")") + ", " +
          bytes(report["bytes"]);
  if (has_stats) text += ", " + count(report["nan"]) + " NaN, " + count(report["infinite"]) + " infinite";
  if (report.contains("prefix")) {
    text += "\nnames that begin with " + report["prefix"].get<std::string>() +
            " are a transformer's; forward, sample, train, export and import strip the prefix";
  }
  return text + "\n";
}

std::string npy_text(const Report& report) {
  std::vector<std::string> headings = {"dtype", "shape", ">bytes"};
  std::vector<std::string> cells = {report["dtype"], shape(report["shape"]), bytes(report["bytes"])};
  if (report.contains("stats")) {
    headings.insert(headings.end(), kStatsHeadings.begin(), kStatsHeadings.end());
    add_stats(cells, report["stats"]);
  }
  TextTable table(headings);
  table.add(std::move(cells));
  return "an .npy array\n" + table.text();
}

std::string tar_text(const Report& report) {
  TextTable table({"sample", ">bytes", "members"});
  for (const Report& sample : report["samples"]) {
    int64_t total = 0;
    std::string members;
    for (const auto& [extension, size] : sample["members"].items()) {
      total += size.get<int64_t>();
      members += (members.empty() ? "" : ", ") + extension + " " + bytes(size);
    }
    table.add({sample["key"], bytes(Report(total)), members});
  }
  std::string text = "a tar shard: " + some(report["sample_count"], "sample") + ", " +
                     some(report["member_count"], "member") + ", " + bytes(report["bytes"]) + "\n" +
                     extensions_text(report["extensions"]) + table.text();
  if (!report["has_end_mark"].get<bool>()) text += "no end mark: the archive may be cut short\n";
  return text;
}

std::string data_set_text(const Report& report) {
  TextTable table({"shard", ">samples", ">members", ">bytes", ""});
  for (const Report& shard : report["shards"]) {
    std::string remark;
    if (shard.contains("damage")) remark = shard["damage"];
    if (!shard.value("has_end_mark", true)) remark = "no end mark: may be cut short";
    table.add(
        {shard["name"], count(shard["sample_count"]), count(shard["member_count"]), bytes(shard["bytes"]), remark});
  }
  return "a data set: " + some(report["shard_count"], "shard") + ", " + some(report["sample_count"], "sample") + ", " +
         bytes(report["bytes"]) + ", " + count(report["damaged_count"]) + " damaged\n" +
         extensions_text(report["extensions"]) + table.text();
}

std::string columns_text(const Report& columns) {
  TextTable table({"column", "type"});
  for (const Report& column : columns) table.add({column["name"], column["type"]});
  return table.text();
}

std::string arrow_text(const Report& report) {
  std::string text = "an Arrow file: " + some(report["row_count"], "row") + " in " + count(report["batch_count"]) +
                     " record batches, " + bytes(report["bytes"]) + "\n" + columns_text(report["columns"]);
  if (report.contains("damage")) text += "damaged: " + report["damage"].get<std::string>() + "\n";
  return text;
}

std::string arrow_data_set_text(const Report& report) {
  TextTable table({"file", ">rows", ">bytes", ""});
  for (const Report& file : report["files"]) {
    table.add({file["name"], count(file["row_count"]), bytes(file["bytes"]), file.value("damage", "")});
  }
  return "an Arrow data set: " + some(report["file_count"], "file") + ", " + some(report["row_count"], "row") + ", " +
         bytes(report["bytes"]) + ", " + count(report["damaged_count"]) + " damaged\n" +
         columns_text(report["columns"]) + table.text();
}

std::string events_text(const Report& report) {
  TextTable files({"event file", ">records", ""});
  for (const Report& file : report["files"]) {
    files.add({file["name"], count(file["records"]), file["is_cut_short"].get<bool>() ? "last record incomplete" : ""});
  }
  TextTable tags({"tag", "type", ">count", ">steps", ">first", ">last", ">min", ">max"});
  for (const Report& tag : report["tags"]) {
    std::vector<std::string> cells = {tag["tag"], tag["type"], count(tag["count"]),
                                      count(tag["first_step"]) + " to " + count(tag["last_step"])};
    for (const char* key : {"first", "last", "min", "max"}) {
      cells.push_back(tag.contains(key) ? number(tag[key]) : "");
    }
    tags.add(std::move(cells));
  }
  return "TensorBoard events\n" + files.text() + tags.text();
}

std::string trace_text(const Report& report) {
  const Report& by_category = report["categories"];
  TextTable categories({"category", ">self ms"});
  for (const auto& [name, sums] : by_category.items()) categories.add({name, milliseconds(sums["self_us"])});
  TextTable names({"name", "category", ">calls", ">self ms", ">of category", ">total ms", ">mean us"});
  for (const Report& row : report["names"]) {
    const Report& self = row["self_us"];
    const Report& all = by_category[row["category"].get<std::string>()]["self_us"];
    const bool is_finite = !self.is_null() && !all.is_null() && !row["total_us"].is_null() && all.get<double>() != 0;
    names.add({row["name"], row["category"], count(row["calls"]), milliseconds(self),
               is_finite ? format_double("%.1f%%", 100 * self.get<double>() / all.get<double>()) : "-",
               milliseconds(row["total_us"]),
               is_finite ? format_double("%.1f", row["total_us"].get<double>() / row["calls"].get<double>()) : "-"});
  }
  return "a profiler trace: " + some(report["event_count"], "event") + " on " + some(report["thread_count"], "thread") +
         " and streams, " + milliseconds(report["span_us"]) + " ms\n" + categories.text() + names.text() +
         "the first " + count(Report(report["names"].size())) + " of " + some(report["name_count"], "name") +
         " by their own time\n";
}

std::string checkpoint_text(const Report& report) {
  const bool has_stats = !report["tensors"].empty() && report["tensors"][0].contains("stats");
  std::vector<std::string> headings = {"tensor", "dtype", "shape", ">pieces", ">bytes"};
  if (has_stats) headings.insert(headings.end(), kStatsHeadings.begin(), kStatsHeadings.end());
  TextTable table(headings);
  for (const Report& tensor : report["tensors"]) {
    std::vector<std::string> cells = {tensor["name"], tensor["dtype"], shape(tensor["shape"]),
                                      count(tensor["piece_count"]), bytes(tensor["bytes"])};
    if (has_stats) add_stats(cells, tensor["stats"]);
    table.add(std::move(cells));
  }
  std::string steps;
  for (const Report& step : report["steps"]) steps += (steps.empty() ? "" : ", ") + step.dump();
  std::string text = "a checkpoint of step " + report["step"].dump() + ", written by " +
                     some(report["world_size"], "rank") + "; every checksum is right\n";
  if (!steps.empty()) text += "complete steps: " + steps + "\n";
  return text + table.text() + some(report["listed_count"], "tensor") + ", " +
         some(report["element_count"], "element") + ", " + bytes(report["bytes"]) + "\n";
}

}  // namespace

std::string report_text(const Report& report) {
  const std::string kind = report["kind"];
  if (kind == "weights") return weights_text(report);
  if (kind == "npy") return npy_text(report);
  if (kind == "tar") return tar_text(report);
  if (kind == "data set") return data_set_text(report);
  if (kind == "arrow") return arrow_text(report);
  if (kind == "arrow data set") return arrow_data_set_text(report);
  if (kind == "events") return events_text(report);
  if (kind == "trace") return trace_text(report);
  if (kind == "checkpoint") return checkpoint_text(report);
  MILLRACE_CHECK(false);
}

}  // namespace millrace
