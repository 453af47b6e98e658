// What servers say about their files: MLCommons' lists, Hugging Face's trees, names, patterns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "download/catalogue.h"
#include "download/hugging_face.h"
#include "download/mlcommons.h"
#include "download/safe_path.h"

namespace millrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr const char* kMd5 = "d41d8cd98f00b204e9800998ecf8427e";
const std::string kGitId(40, 'a'), kSha(64, 'b');

TEST(Mlcommons, ReadsUriFiles) {
  EXPECT_EQ(parse_uri_file("https://training.mlcommons-storage.org/flux_1/datasets/coco\n", "x").text(),
            "https://training.mlcommons-storage.org/flux_1/datasets/coco");
  EXPECT_EQ(parse_uri_file("  https://a/b//\r\n", "x").text(), "https://a/b");
  EXPECT_THAT(
      [] { parse_uri_file("<html>", "x.uri"); },
      ThrowsMessage<DataError>(HasSubstr("[x.uri] expected one line with the URL of the data, got \"<html>\"")));
  EXPECT_THROW(parse_uri_file("http://192.0.2.1/x", "x"), DataError);
}

TEST(Mlcommons, ReadsMd5Lists) {
  const std::string text = std::string(kMd5) + "  data-00000-of-00002.arrow\n\n" + kMd5 +
                           " *./sub/name with  blanks \r\n" + "D41D8CD98F00B204E9800998ECF8427E  last";
  const auto files = parse_md5_list(text, "x.md5");
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[0].second, "data-00000-of-00002.arrow");
  EXPECT_EQ(files[0].first.text(), std::string("md5:") + kMd5);
  EXPECT_EQ(files[1].second, "sub/name with  blanks ");
  EXPECT_EQ(files[2].second, "last");
  EXPECT_EQ(files[2].first.hex, kMd5);
  // rclone writes blanks instead of a checksum where it has none.
  EXPECT_THAT([] { parse_md5_list(std::string(32, ' ') + "  x", "x.md5"); },
              ThrowsMessage<DataError>(HasSubstr("[x.md5:1] expected \"<md5>  <path>\"")));
  EXPECT_THROW(parse_md5_list("", "x"), DataError);
  EXPECT_THROW(parse_md5_list(std::string(kMd5) + "  ../x", "x"), DataError);
}

TEST(HuggingFace, ReadsTrees) {
  const std::string json = R"([{"type": "directory", "oid": "x", "size": 0, "path": "vae"},
    {"type": "file", "oid": ")" +
                           kGitId + R"(", "size": 12, "path": "config.json", "xetHash": "y"},
    {"type": "file", "oid": ")" +
                           kGitId + R"(", "size": 134, "path": "vae/w.safetensors",
     "lfs": {"oid": ")" + kSha +
                           R"(", "size": 335304388, "pointerSize": 134}}])";
  const auto files = parse_tree_page(json, "tree");
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].checksum.text(), "git-sha1:" + kGitId);
  EXPECT_EQ(files[0].size, 12u);
  EXPECT_EQ(files[1].path, "vae/w.safetensors");
  EXPECT_EQ(files[1].checksum.text(), "sha256:" + kSha);
  EXPECT_EQ(files[1].size, 335304388u);
  EXPECT_TRUE(parse_tree_page("[]", "tree").empty());
}

TEST(HuggingFace, ReadsLinkHeaders) {
  EXPECT_EQ(next_link("<https://a/b?cursor=x%3D>; rel=\"next\""), "https://a/b?cursor=x%3D");
  EXPECT_EQ(next_link("<https://a/first>; rel=\"first\", <https://a/n>;rel=next"), "https://a/n");
  EXPECT_EQ(next_link("</n>; title=\"x\"; REL=\"NEXT\""), "/n");
  EXPECT_EQ(next_link("<https://a/last>; rel=\"last\""), "");
  EXPECT_EQ(next_link("<https://a"), "");
  EXPECT_EQ(next_link(""), "");
}

TEST(HuggingFace, ReadsNamesOfRepositories) {
  EXPECT_EQ(parse_repository("google/t5-v1_1-xxl").id, "google/t5-v1_1-xxl");
  const HubRepository data = parse_repository("datasets/pixparse/cc12m-wds@refs/pr/1");
  EXPECT_TRUE(data.is_dataset);
  EXPECT_EQ(data.id, "pixparse/cc12m-wds");
  EXPECT_EQ(data.revision, "refs/pr/1");
  EXPECT_EQ(data.name(), "hf:datasets/pixparse/cc12m-wds@refs/pr/1");
  for (const char* text :
       {"", "a", "a/b/c", "spaces/a/b", "a/b@", "a/..", "../b", "a/b?x", "a b/c", "a/b@x/../y", "a//b"}) {
    EXPECT_THROW(parse_repository(text), ConfigError) << text;
  }
}

TEST(HuggingFace, FindsTheTokenAsHuggingfaceHubDoes) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "hub-token";
  std::filesystem::create_directories(folder / ".cache" / "huggingface");
  std::ofstream(folder / ".cache" / "huggingface" / "token") << "from-home\n";
  std::ofstream(folder / "elsewhere") << " from-path ";
  std::map<std::string, std::string> variables = {{"HOME", folder.string()}};
  const VariableReader environment = [&](const std::string& name) { return variables[name]; };
  const Url endpoint = hub_endpoint(environment);
  EXPECT_EQ(endpoint.text(), "https://huggingface.co");
  const auto token = [&] { return hub_token(environment, endpoint).value(); };
  EXPECT_EQ(token(), "from-home");
  variables["HF_TOKEN_PATH"] = "~/elsewhere";
  EXPECT_EQ(token(), "from-path");
  variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
  EXPECT_EQ(token(), "");
  variables["HF_TOKEN"] = "hf_word";
  EXPECT_EQ(token(), "hf_word");
  variables["HF_TOKEN"] = "two words";
  EXPECT_THAT(token, ThrowsMessage<ConfigError>(HasSubstr("[HF_TOKEN] expected a token")));
}

TEST(AccessToken, IsForItsOriginAlone) {
  const AccessToken token("secret", "https://huggingface.co:443");
  EXPECT_TRUE(token.is_for(*parse_url("https://huggingface.co/api")));
  EXPECT_TRUE(token.is_for(*parse_url("https://HuggingFace.co:443/")));
  for (const char* text : {"http://huggingface.co/", "https://huggingface.co:444/", "https://cdn.huggingface.co/",
                           "https://huggingface.co.example/", "https://example/huggingface.co"}) {
    EXPECT_FALSE(token.is_for(*parse_url(text))) << text;
  }
  EXPECT_FALSE(AccessToken().is_for(*parse_url("https://huggingface.co/")));
}

TEST(SafePath, TakesPlainNamesOnly) {
  for (const char* path : {"a", "a/b/c.tar", "..a", "a..b", ".gitattributes", "...", "\xC3\xA9t\xC3\xA9.txt", "a b"}) {
    EXPECT_EQ(path_problem(path), "") << path;
  }
  for (const char* path : {"", ".", "..", "a/..", "a/./b", "/a", "a/", "a//b", "a\\b", "a\nb", "a\x7f", "\xff",
                           "\xC2\x9B"
                           "2J",
                           ".millrace-download", ".Millrace-Download/lock", "a/.millrace-download/x"}) {
    EXPECT_NE(path_problem(path), "") << path;
  }
  EXPECT_NE(path_problem(std::string("a\0b", 3)), "");
}

TEST(Glob, MatchesLikeHuggingfaceHub) {
  EXPECT_TRUE(matches("a/b/c.tar", "*.tar"));
  EXPECT_TRUE(matches("cc12m-train-0001.tar", "cc12m-train-00[0-4]?.tar"));
  EXPECT_TRUE(matches("a/b/c", "a/"));
  EXPECT_TRUE(matches(".hidden", "*"));
  EXPECT_FALSE(matches("b.tar.gz", "*.tar"));
  EXPECT_FALSE(matches("A.tar", "a.tar"));
  EXPECT_TRUE(matches("x", "[!ab]"));
  const FileFilter filter{.include = {"*.json", "t5/*"}, .exclude = {"t5/x*"}};
  EXPECT_TRUE(filter.wants("a.json"));
  EXPECT_TRUE(filter.wants("t5/w"));
  EXPECT_FALSE(filter.wants("t5/x.json"));
  EXPECT_FALSE(filter.wants("clip/w"));
}

TEST(Catalogue, NamesWhatCanBeAskedFor) {
  for (const CatalogueEntry& entry : catalogue()) {
    EXPECT_EQ(find_in_catalogue(entry.name), &entry);
    EXPECT_FALSE(entry.licence.empty() || entry.size.empty() || entry.meaning.empty());
    const bool is_hub = entry.where == CatalogueEntry::Where::kHuggingFace;
    EXPECT_NO_THROW(parse_repository(is_hub ? entry.address : "owner/name")) << entry.name;
  }
  EXPECT_EQ(find_in_catalogue("nothing"), nullptr);
}

RemoteFile file(const std::string& path) {
  return {.path = path, .url = *parse_url("https://a/" + path), .size = 1, .checksum = {ChecksumKind::kMd5, kMd5}};
}

TEST(Catalogue, PutsFilesWhereTheRulesSay) {
  Listing listing{.source = {},
                  .files = {file("text_encoder_2/w"), file("tokenizer_2/s"), file("vae/w"), file("ae")},
                  .default_folder = ""};
  select_files(listing, {{"text_encoder_2/", "t5/"}, {"tokenizer_2/", "t5/"}, {"ae", "autoencoder/ae"}}, {});
  std::vector<std::string> paths;
  for (const RemoteFile& kept : listing.files) paths.push_back(kept.path);
  EXPECT_THAT(paths, ElementsAre("autoencoder/ae", "t5/s", "t5/w"));
  Listing clash{.source = {}, .files = {file("a/w"), file("b/w")}, .default_folder = ""};
  EXPECT_THAT(([&] {
                select_files(clash, {{"a/", "c/"}, {"b/", "c/"}}, {});
              }),
              ThrowsMessage<DataError>(HasSubstr("twice")));
}

}  // namespace
}  // namespace millrace
