// Damaged answers of servers: lists are read or refused, within a bound on memory, and whatever is read stays below the
// output folder and keeps the token with its origin.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "download/hugging_face.h"
#include "download/mlcommons.h"
#include "download/safe_path.h"
#include "memory_watch.h"
#include "mutator.h"

namespace millrace {
namespace {

// Judged here without safe_path.h's help.
void check_stays_below(const std::string& path) {
  int depth = 0;
  for (const std::string& component : split(path, '/')) {
    ASSERT_FALSE(component.empty() || component == ".." || component.find('\0') != std::string::npos) << path;
    depth += component == "." ? 0 : 1;
  }
  ASSERT_GT(depth, 0);
  ASSERT_TRUE(is_valid_utf8(path));
  ASSERT_TRUE(
      std::none_of(path.begin(), path.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\\'; }));
}

void check_checksum(const Checksum& checksum) {
  ASSERT_TRUE(is_checksum(checksum.kind, checksum.hex)) << checksum.text();
}

void read_md5_list(const std::string& text) {
  for (const auto& [checksum, path] : parse_md5_list(text, "fuzz")) {
    check_stays_below(path);
    check_checksum(checksum);
  }
}

void read_tree(const std::string& text) {
  for (const HubFile& file : parse_tree_page(text, "fuzz")) {
    check_stays_below(file.path);
    check_checksum(file.checksum);
  }
}

// A URL says the same when it is written and read again, so that the client sees the host that we saw.
void check_stable(const Url& url) {
  const auto again = parse_url(url.text());
  ASSERT_TRUE(again) << url.text();
  ASSERT_EQ(again->origin(), url.origin());
  ASSERT_EQ(again->text(), url.text());
  const std::string text = url.text();
  ASSERT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; }));
}

void read_uri(const std::string& text) {
  const Url url = parse_uri_file(text, "fuzz");
  check_stable(url);
  ASSERT_TRUE(url.is_safe());
}

void read_redirect(const std::string& text) {
  const auto url = resolve_url(*parse_url("https://huggingface.co/owner/name?x=y"), text);
  if (!url) throw DataError("[fuzz] expected a URL");
  check_stable(*url);
  const bool is_home = url->scheme == "https" && url->host == "huggingface.co" && url->port == 443;
  ASSERT_EQ(AccessToken("secret", "https://huggingface.co:443").is_for(*url), is_home);
}

void read_link(const std::string& text) {
  if (next_link(text).empty()) throw DataError("[fuzz] expected a link");
}

const std::string kMd5 = "d41d8cd98f00b204e9800998ecf8427e";

std::vector<std::string> md5_samples() {
  return {kMd5 + "  data-00000-of-04762.arrow\n" + kMd5 + "  a/b/../c\n",
          kMd5 + "  dataset_info.json\n" + kMd5 + " *./state.json\r\n",
          kMd5 + "  Berkeley Function Calling/\xC3\xA9.txt"};
}

std::vector<std::string> tree_samples() {
  const std::string git = "\"oid\":\"" + std::string(40, 'a') + "\"", sha = "\"oid\":\"" + std::string(64, 'b') + "\"";
  return {"[{\"type\":\"file\"," + git + ",\"size\":12,\"path\":\"config.json\"}]",
          "[{\"type\":\"directory\",\"path\":\"vae\"},{\"type\":\"file\"," + git +
              ",\"size\":134,\"path\":\"vae/w.safetensors\",\"lfs\":{" + sha +
              ",\"size\":335304388,\"pointerSize\":134},\"xetHash\":\"0\"}]",
          "[]"};
}

std::vector<std::string> uri_samples() {
  return {"https://training.mlcommons-storage.org/flux_1/datasets/cc12m_disk\n", "https://a.b:8443/c%20d/",
          "http://localhost:80/x"};
}

std::vector<std::string> redirect_samples() {
  return {"https://cas-bridge.xethub.hf.co/xet/a?X-Amz-Signature=0&b=%2F",
          "/api/resolve-cache/models/a/b?x",
          "../c/./d",
          "//huggingface.co/x",
          "https://huggingface.co:443/y",
          "https://huggingface.co@evil/"};
}

std::vector<std::string> link_samples() {
  return {"<https://huggingface.co/api/models/a/b/tree/main?recursive=true&cursor=Zm9v>; rel=\"next\"",
          "<https://a/first>; rel=\"first\", </next>; title=\"x\"; rel=next"};
}

struct Target {
  const char* name;
  std::vector<std::string> (*samples)();
  void (*read)(const std::string&);
};

class DamagedAnswer : public testing::TestWithParam<Target> {};

TEST_P(DamagedAnswer, IsReadOrRefusedInBoundedMemory) {
  constexpr int kMutations = 20000;
  const Target& target = GetParam();
  std::vector<std::string> corpus = target.samples();
  Mutator mutator(20261124);
  int refused = 0, accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string text = mutator.mutate(corpus);
    const MemoryWatch watch;
    try {
      target.read(text);
      ++accepted;
      if (corpus.size() < 64 && text.size() < 1 << 16) corpus.push_back(text);
    } catch (const Error& error) {
      ++refused;
      ASSERT_GT(std::string(error.what()).size(), 10u);
    }
    ASSERT_FALSE(HasFatalFailure()) << target.name << " mutation " << i;
    ASSERT_LT(watch.peak_bytes(), (size_t{1} << 20) + 256 * text.size()) << target.name << " mutation " << i;
  }
  // Both ways are taken, or nothing is tested.
  EXPECT_GT(refused, kMutations / 20);
  EXPECT_GT(accepted, kMutations / 100);
}

INSTANTIATE_TEST_SUITE_P(Download, DamagedAnswer,
                         testing::Values(Target{"md5_list", md5_samples, read_md5_list},
                                         Target{"tree", tree_samples, read_tree}, Target{"uri", uri_samples, read_uri},
                                         Target{"redirect", redirect_samples, read_redirect},
                                         Target{"link", link_samples, read_link}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
