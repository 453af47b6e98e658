#include "language/token_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <future>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr uint64_t kTokensMagic = 0x534E454B4F54524D;  // "MRTOKENS"
constexpr uint64_t kBlockTokens = uint64_t{1} << 18;   // tokens
constexpr uint32_t kTrainedBit = uint32_t{1} << 31;

struct TokenTrailer {
  uint64_t magic = kTokensMagic, version = kTokenFileVersion, rows = 0, tokens = 0, identity_bytes = 0, checksum = 0;
};
static_assert(sizeof(TokenTrailer) == 48);

uint64_t filled(uint64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

uint64_t num_blocks(uint64_t tokens) {
  return (tokens + kBlockTokens - 1) / kBlockTokens;
}

uint64_t checksum_of(const TokenTrailer& trailer, const std::vector<uint64_t>& ends,
                     const std::vector<uint64_t>& checksums, std::string_view identity) {
  const std::array<uint64_t, 7> sums = {trailer.version,
                                        trailer.rows,
                                        trailer.tokens,
                                        trailer.identity_bytes,
                                        checksum64(ends.data(), 8 * ends.size()),
                                        checksum64(checksums.data(), 8 * checksums.size()),
                                        checksum64(identity.data(), identity.size())};
  return checksum64(sums.data(), sizeof(sums));
}

void read_numbers(const FileReader& file, uint64_t offset, std::vector<uint64_t>& numbers) {
  file.read(offset, {reinterpret_cast<char*>(numbers.data()), 8 * numbers.size()});
}

bool are_zeros(const FileReader& file, uint64_t begin, uint64_t end) {
  std::string bytes(end - begin, '\1');
  file.read(begin, bytes);
  return bytes.find_first_not_of('\0') == std::string::npos;
}

void read_words(const FileReader& file, uint64_t begin, std::vector<uint32_t>& words) {
  file.read(4 * begin, {reinterpret_cast<char*>(words.data()), 4 * words.size()});
}

}  // namespace

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path) : file_(path) {}

void TokenFileWriter::add(const TokenSample& sample, LabelShift shift) {
  const std::vector<int32_t>& tokens = sample.tokens;
  MILLRACE_CHECK(tokens.size() == sample.labels.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_trained = sample.labels[i] != kMaskedLabel;
    const size_t labelled = shift == LabelShift::kByOne ? i + 1 : i;
    MILLRACE_CHECK(tokens[i] >= 0);
    MILLRACE_CHECK(!is_trained || (labelled < tokens.size() && sample.labels[i] == tokens[labelled]));
    block_.push_back(static_cast<uint32_t>(tokens[i]) | (is_trained ? kTrainedBit : 0));
    if (block_.size() == kBlockTokens) write_block(kBlockTokens);
  }
  num_tokens_ += tokens.size();
  ends_.push_back(num_tokens_);
}

void TokenFileWriter::write_block(size_t tokens) {
  checksums_.push_back(checksum64(block_.data(), 4 * tokens));
  file_.write(block_.data(), 4 * tokens);
  block_.clear();
}

void TokenFileWriter::finish(std::string_view identity) {
  const auto fill = [&] { file_.write(std::string(filled(file_.position()) - file_.position(), '\0')); };
  if (!block_.empty()) write_block(block_.size());
  fill();
  TokenTrailer trailer{.rows = ends_.size(), .tokens = num_tokens_, .identity_bytes = identity.size()};
  trailer.checksum = checksum_of(trailer, ends_, checksums_, identity);
  file_.write(ends_.data(), 8 * ends_.size());
  file_.write(checksums_.data(), 8 * checksums_.size());
  file_.write(identity);
  fill();
  file_.write(&trailer, sizeof(trailer));
  file_.close();
}

TokenFile::TokenFile(const std::filesystem::path& path, std::string_view identity, int64_t vocabulary_size,
                     ThreadPool& pool)
    : file_(path) {
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw DataError(str("[", path.string(), "] expected ", expected, ", got ", got));
  };
  const uint64_t size = file_.size();
  TokenTrailer trailer;
  if (size < sizeof(trailer)) fail("a file of tokens", str("one of ", size, " bytes"));
  file_.read(size - sizeof(trailer), {reinterpret_cast<char*>(&trailer), sizeof(trailer)});
  if (trailer.magic != kTokensMagic) fail("the end of a file of tokens", "other bytes");
  if (trailer.version != kTokenFileVersion) {
    fail(str("version ", kTokenFileVersion), str("version ", trailer.version));
  }
  // None of the three is more than the file has room for, so that no sum overflows.
  const bool has_room = trailer.rows <= size / 8 && trailer.tokens <= size / 4 && trailer.identity_bytes <= size;
  const uint64_t begin = has_room ? filled(4 * trailer.tokens) : 0;
  const uint64_t blocks = has_room ? num_blocks(trailer.tokens) : 0;
  const uint64_t end = begin + 8 * trailer.rows + 8 * blocks + filled(trailer.identity_bytes) + sizeof(trailer);
  if (!has_room || end != size) fail(str(has_room ? end : 0, " bytes, as its end says"), str(size));

  ends_.resize(trailer.rows);
  std::vector<uint64_t> checksums(blocks);
  std::string found(trailer.identity_bytes, '\0');
  read_numbers(file_, begin, ends_);
  read_numbers(file_, begin + 8 * trailer.rows, checksums);
  file_.read(begin + 8 * (trailer.rows + blocks), found);
  if (checksum_of(trailer, ends_, checksums, found) != trailer.checksum) fail("an undamaged index", "another checksum");
  const uint64_t identity_end = begin + 8 * (trailer.rows + blocks) + trailer.identity_bytes;
  if (!are_zeros(file_, 4 * trailer.tokens, begin) || !are_zeros(file_, identity_end, size - sizeof(trailer))) {
    fail("zeros between the parts", "other bytes");
  }
  if (found != identity) fail("the tokens of these rows", "those of others");
  const bool fits = std::is_sorted(ends_.begin(), ends_.end()) && (ends_.empty() ? 0 : ends_.back()) == trailer.tokens;
  if (!fits) fail(str("rows of ", trailer.tokens, " tokens"), "others");
  check_tokens(checksums, vocabulary_size, pool);
}

void TokenFile::check_tokens(const std::vector<uint64_t>& checksums, int64_t vocabulary_size, ThreadPool& pool) const {
  // What is wrong with a block; empty: nothing.
  const auto check = [&](size_t block) -> std::string {
    const uint64_t begin = block * kBlockTokens;
    std::vector<uint32_t> words(std::min(kBlockTokens, static_cast<uint64_t>(num_tokens()) - begin));
    read_words(file_, begin, words);
    if (checksum64(words.data(), 4 * words.size()) != checksums[block]) {
      return str("undamaged tokens from ", begin, " on, got another checksum");
    }
    for (const uint32_t word : words) {
      if ((word & ~kTrainedBit) >= vocabulary_size) {
        return str("ids below ", vocabulary_size, ", got ", word & ~kTrainedBit);
      }
    }
    return "";
  };
  std::vector<std::future<std::string>> blocks;
  for (size_t block = 0; block < checksums.size(); ++block) {
    blocks.push_back(pool.submit([&check, block] { return check(block); }));
  }
  for (auto& one : blocks) one.wait();  // all, as they use what is here
  for (auto& one : blocks) {
    if (const std::string problem = one.get(); !problem.empty()) {
      throw DataError(str("[", path().string(), "] expected ", problem));
    }
  }
}

int64_t TokenFile::length(int64_t row) const {
  MILLRACE_CHECK(row >= 0 && row < size());
  const auto at = static_cast<size_t>(row);
  return static_cast<int64_t>(ends_[at] - (at == 0 ? 0 : ends_[at - 1]));
}

std::optional<TokenSample> TokenFile::find(int64_t row, LabelShift shift) const {
  std::vector<uint32_t> words(static_cast<size_t>(length(row)));
  if (words.empty()) return std::nullopt;
  try {
    read_words(file_, ends_[static_cast<size_t>(row)] - words.size(), words);
  } catch (const DataError& error) {
    if (!is_warned_.exchange(true)) log_warning(error.what(), ": rows are tokenised again");
    return std::nullopt;
  }
  TokenSample sample;
  sample.tokens.reserve(words.size());
  for (const uint32_t word : words) sample.tokens.push_back(static_cast<int32_t>(word & ~kTrainedBit));
  sample.labels.assign(words.size(), kMaskedLabel);
  const size_t shifted = shift == LabelShift::kByOne ? 1 : 0;
  for (size_t i = 0; i + shifted < words.size(); ++i) {
    if ((words[i] & kTrainedBit) != 0) sample.labels[i] = sample.tokens[i + shifted];
  }
  return sample;
}

}  // namespace millrace
