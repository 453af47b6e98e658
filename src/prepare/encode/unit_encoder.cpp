#include "prepare/encode/unit_encoder.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"
#include "base/log.h"
#include "data/json_sidecar.h"
#include "data/picture_decoder.h"
#include "diffusion/dataset_survey.h"
#include "formats/json.h"
#include "formats/npy.h"
#include "formats/quote.h"

namespace millrace {
namespace {

// COCO's samples are named by their annotation's id, as in the reference; others by their key.
std::string key_of(const SampleShard& shard, size_t sample, const DatasetKind& kind) {
  if (kind.needs_timesteps) {
    const auto id = sidecar_member(shard, sample, "id");
    if (id && id->is_string()) return id->get<std::string>();
    if (id && id->is_number_integer()) return id->dump();
  }
  return shard.key(sample);
}

// A .npy file in a cell; numpy has no bfloat16, so its bits are stored as uint16.
std::string npy_cell(const std::string& header, const torch::Tensor& tensor, int64_t row) {
  const size_t bytes = static_cast<size_t>(tensor[row].numel()) * sizeof(uint16_t);
  const auto* begin = static_cast<const char*>(tensor.const_data_ptr()) + static_cast<size_t>(row) * bytes;
  std::string cell;
  cell.reserve(header.size() + bytes);
  cell.append(header).append(begin, bytes);
  return cell;
}

std::string npy_header_of(const torch::Tensor& batch) {
  return npy_header(DType::kBF16, batch.sizes().slice(1).vec());
}

struct FinishedRow {
  std::string key;
  int64_t timestep;
};

void write_rows(ArrowStreamWriter& file, const std::vector<FinishedRow>& rows, const Encodings& encodings) {
  const std::array<torch::Tensor, 4> tensors = {encodings.t5_BTX, encodings.clip_BV, encodings.mean_BZhw,
                                                encodings.logvar_BZhw};
  std::array<std::string, 4> headers;
  for (size_t i = 0; i < tensors.size(); ++i) headers[i] = npy_header_of(tensors[i]);
  for (size_t row = 0; row < rows.size(); ++row) {
    std::array<std::string, 4> cells;
    std::vector<ArrowCell> values = {std::string_view(rows[row].key)};
    for (size_t i = 0; i < tensors.size(); ++i) {
      cells[i] = npy_cell(headers[i], tensors[i], static_cast<int64_t>(row));
      values.emplace_back(std::as_bytes(std::span(cells[i].data(), cells[i].size())));
    }
    values.push_back(rows[row].timestep < 0 ? ArrowCell() : ArrowCell(rows[row].timestep));
    file.add_row(values);
  }
}

}  // namespace

const std::vector<ArrowColumnSpec>& encoding_columns() {
  static const std::vector<ArrowColumnSpec> columns = {
      {"__key__", ArrowType::kString}, {"t5_encodings", ArrowType::kBinary}, {"clip_encodings", ArrowType::kBinary},
      {"mean", ArrowType::kBinary},    {"logvar", ArrowType::kBinary},       {"timestep", ArrowType::kInt32}};
  return columns;
}

// A usable sample.
struct UnitEncoder::Row {
  std::shared_ptr<const SampleShard> shard;
  size_t sample = 0;
  std::string key, caption;
  int64_t timestep = -1;
};

// Samples whose pictures are being decoded.
struct UnitEncoder::Batch {
  std::vector<Row> rows;
  torch::Tensor image_BCHW;
  std::vector<std::future<DecodeOutcome>> decoded;
};

UnitEncoder::UnitEncoder(const UnitEncoderOptions& options, const DatasetKind& kind, ShardCache& cache,
                         const SampleTable& table, EncodeNetworks& networks)
    : options_(options),
      kind_(kind),
      cache_(cache),
      table_(table),
      networks_(networks),
      counter_(options.bad_samples),
      workers_(options.num_workers),
      writer_(1) {
  PictureDecoderOptions pictures;
  pictures.transform.size = static_cast<int>(options.img_size);
  pictures.skip_small = !kind.needs_timesteps;
  pictures.timesteps = kind.needs_timesteps ? TimestepUse::kRequired : TimestepUse::kUnused;
  pictures.seed = options.seed;
  decoder_ = std::make_unique<PictureDecoder>(pictures);
}

UnitEncoder::~UnitEncoder() = default;

std::vector<UnitEncoder::Row> UnitEncoder::check(const SampleRange& unit, UnitReport& report) {
  struct Checked {
    Row row;
    CheckedSample check;
  };
  std::vector<std::future<Checked>> checks;
  for (int64_t index = unit.begin; index < unit.end; ++index) {
    checks.push_back(workers_.submit([this, index] {
      const SampleTable::Place place = table_.find(index);
      Checked checked;
      checked.row.shard = cache_.get(place.shard);
      checked.row.sample = place.sample;
      checked.check = decoder_->check(*checked.row.shard, place.sample);
      if (checked.check.verdict != CheckedSample::Verdict::kUsable) return checked;
      try {
        checked.row.key = key_of(*checked.row.shard, place.sample, kind_);
      } catch (const DataError& error) {
        checked.check.verdict = CheckedSample::Verdict::kBad;
        checked.check.problem = error.what();
      }
      checked.row.caption = checked.check.caption;
      checked.row.timestep = checked.check.timestep;
      return checked;
    }));
  }
  std::vector<Row> rows;
  for (std::future<Checked>& future : checks) {
    Checked checked = future.get();
    switch (checked.check.verdict) {
      case CheckedSample::Verdict::kUsable:
        if (kind_.needs_timesteps && checked.row.timestep < 0) {
          throw_without_timestep(checked.row.shard->describe(checked.row.sample));
        }
        counter_.add_usable();
        rows.push_back(std::move(checked.row));
        break;
      case CheckedSample::Verdict::kSmall:
        ++report.small;
        counter_.add_small();
        break;
      case CheckedSample::Verdict::kBad:
        ++report.bad;
        if (report.problems.size() < kMaxProblems) report.problems.push_back(as_utf8(checked.check.problem));
        counter_.add_bad(checked.row.shard->describe(checked.row.sample), checked.check.problem);
        break;
    }
  }
  return rows;
}

UnitEncoder::Batch UnitEncoder::start_decoding(std::vector<Row> rows) {
  Batch batch;
  batch.rows = std::move(rows);
  const int64_t side = options_.img_size;
  batch.image_BCHW = torch::empty({static_cast<int64_t>(batch.rows.size()), 3, side, side}, torch::kFloat32);
  for (size_t i = 0; i < batch.rows.size(); ++i) {
    float* picture = batch.image_BCHW.data_ptr<float>() + static_cast<int64_t>(i) * 3 * side * side;
    batch.decoded.push_back(workers_.submit(
        [this, shard = batch.rows[i].shard, sample = batch.rows[i].sample, picture, memory = batch.image_BCHW] {
          void* const out[] = {picture};
          return decoder_->decode(*shard, sample, /*epoch=*/0, out);
        }));
  }
  return batch;
}

// The rows that could be decoded.
std::vector<size_t> UnitEncoder::finish_decoding(Batch& batch, UnitReport& report) {
  std::vector<size_t> good;
  for (size_t i = 0; i < batch.decoded.size(); ++i) {
    const DecodeOutcome outcome = batch.decoded[i].get();
    if (outcome.truncated) counter_.add_truncated();
    if (outcome.problem.empty()) {
      good.push_back(i);
      continue;
    }
    ++report.bad;
    if (report.problems.size() < kMaxProblems) report.problems.push_back(as_utf8(outcome.problem));
    counter_.turn_bad(batch.rows[i].shard->describe(batch.rows[i].sample), outcome.problem);
  }
  return good;
}

void UnitEncoder::write_later(std::function<void()> work) {
  wait_for_files();
  writing_ = writer_.submit(std::move(work));
}

void UnitEncoder::wait_for_files() {
  if (writing_.valid()) writing_.get();
}

void UnitEncoder::encode(const SampleRange& unit, const std::filesystem::path& file, int64_t calls,
                         const std::function<void(const UnitReport&)>& committing,
                         const std::function<void(int64_t)>& done) {
  UnitReport report;
  std::vector<Row> rows = check(unit, report);
  done(unit.size() - static_cast<int64_t>(rows.size()));
  auto next_batch = [&, begin = size_t{0}]() mutable {
    const size_t end = std::min(rows.size(), begin + static_cast<size_t>(options_.batch_size));
    std::vector<Row> some(std::make_move_iterator(rows.begin() + static_cast<ptrdiff_t>(begin)),
                          std::make_move_iterator(rows.begin() + static_cast<ptrdiff_t>(end)));
    begin = end;
    return start_decoding(std::move(some));
  };

  const auto writer = std::make_shared<ArrowStreamWriter>(file, encoding_columns());
  int64_t calls_made = 0;
  for (Batch batch = next_batch(); !batch.rows.empty();) {
    Batch following = next_batch();  // decoded while this one is encoded
    const std::vector<size_t> good = finish_decoding(batch, report);
    std::vector<std::string> captions;
    std::vector<FinishedRow> finished;
    std::vector<int64_t> kept;
    for (const size_t i : good) {
      captions.push_back(batch.rows[i].caption);
      finished.push_back({batch.rows[i].key, batch.rows[i].timestep});
      kept.push_back(static_cast<int64_t>(i));
    }
    if (!good.empty()) {
      const torch::Tensor image_BCHW =
          good.size() == batch.rows.size() ? batch.image_BCHW : batch.image_BCHW.index_select(0, torch::tensor(kept));
      Encodings encodings = encode_samples(networks_, captions, image_BCHW);
      ++calls_made;
      report.rows += static_cast<int64_t>(good.size());
      write_later([writer, rows_written = std::move(finished), written = std::move(encodings)] {
        write_rows(*writer, rows_written, written);
      });
    }
    done(static_cast<int64_t>(batch.rows.size()));
    batch = std::move(following);
  }
  for (; calls_made < calls; ++calls_made) join_collectives(networks_);
  write_later([writer, committing, report] {
    committing(report);
    writer->close();
  });
}

}  // namespace millrace
