// What makes two data sets the same to a run that resumes.
#include "picture_sets/set_identity.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/files.h"
#include "images/encode.h"
#include "picture_sets/open_picture_sets.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SetIdentity : public testing::Test {
 protected:
  SetIdentity()
      : folder_(fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    create_folders(folder_ / "pictures");
    for (int i = 0; i < 4; ++i) {
      write_picture(i, static_cast<uint8_t>(40 * i));
      write_caption(i, "picture " + std::to_string(i));
    }
    write_document("num_repeats = 2");
  }
  void write_picture(int number, uint8_t grey) {
    Image image;
    image.reshape(32, 32, 3);
    std::fill(image.pixels.begin(), image.pixels.end(), grey);
    write_file_atomically(folder_ / "pictures" / (std::to_string(number) + ".png"), encode_png(image));
  }
  void write_caption(int number, const std::string& caption) {
    write_file_atomically(folder_ / "pictures" / (std::to_string(number) + ".txt"), caption);
  }
  void write_document(const std::string& option) {
    write_file_atomically(document(),
                          "[[datasets]]\nresolution = 32\n[[datasets.subsets]]\nimage_dir = \"pictures\"\n" +
                              std::string("caption_extension = \".txt\"\n") + option + "\n");
  }
  fs::path document() const { return folder_ / "set.toml"; }

  struct Opened {
    std::vector<PictureSet> sets;
    nlohmann::json identity;
  };
  Opened open() const {
    Opened opened;
    opened.sets = open_picture_sets(document(), {});
    opened.identity = identity_of(opened.sets, read_contents(opened.sets, 2));
    return opened;
  }
  // The error of a run that was started before the change.
  std::string error_after(const std::function<void()>& change) {
    const nlohmann::json saved = open().identity;
    change();
    const Opened now = open();
    try {
      check_same_identity(nlohmann::json::parse(saved.dump()), now.identity, now.sets, "set.toml");
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

TEST_F(SetIdentity, NothingChanged) {
  EXPECT_EQ(error_after([] {}), "");
}

TEST_F(SetIdentity, AnEditedPictureIsNamed) {
  EXPECT_THAT(error_after([&] { write_picture(2, 7); }), HasSubstr("from pictures/2.png on"));
}

TEST_F(SetIdentity, AnEditedCaptionIsNamed) {
  EXPECT_THAT(error_after([&] { write_caption(1, "another"); }), HasSubstr("from pictures/1.png on"));
}

TEST_F(SetIdentity, PicturesMoreOrLessAreCounted) {
  EXPECT_THAT(error_after([&] { fs::remove(folder_ / "pictures" / "3.png"); }), HasSubstr("with 4 pictures, got 3"));
}

TEST_F(SetIdentity, AnEditedOptionIsNamed) {
  EXPECT_THAT(error_after([&] { write_document("num_repeats = 3"); }), HasSubstr("with num_repeats 2, got 3"));
  write_document("num_repeats = 2");
  EXPECT_THAT(error_after([&] { write_document("num_repeats = 2\nflip_aug = true"); }),
              HasSubstr("with flip_aug false, got true"));
}

TEST_F(SetIdentity, AnotherPlaceIsTheSameDataSet) {
  const auto move = [&] {
    const fs::path moved = folder_.string() + "_moved";
    fs::remove_all(moved);
    fs::rename(folder_, moved);
    folder_ = moved;
  };
  EXPECT_EQ(error_after(move), "");
}

TEST_F(SetIdentity, TheFaceInANameCounts) {
  const auto rename = [&](const std::string& from, const std::string& to) {
    for (const char* ending : {".png", ".txt"}) {
      fs::rename(folder_ / "pictures" / (from + ending), folder_ / "pictures" / (to + ending));
    }
  };
  write_document("face_crop_aug_range = [1.0, 2.0]");
  rename("0", "0_9_9_4_4");
  EXPECT_THAT(error_after([&] { rename("0_9_9_4_4", "0_9_8_4_4"); }),
              HasSubstr("got others from pictures/0_9_8_4_4.png on"));
  const Opened opened = open();
  EXPECT_EQ(opened.sets[0].train.pictures[0].face->y, 8);
  EXPECT_FALSE(opened.sets[0].train.pictures[1].face.has_value());
  const auto& notices = opened.sets[0].notices.all();
  const auto of_faces =
      std::find_if(notices.begin(), notices.end(), [](const Notice& n) { return n.kind == "no_face"; });
  ASSERT_NE(of_faces, notices.end());
  EXPECT_EQ(of_faces->places.size(), 3);
}

TEST_F(SetIdentity, OptionsThatTrainingDoesNotHaveAreRefused) {
  for (const auto& [option, expected] :
       {std::pair{"face_crop_aug_range = [0.0, 2.0]", "face_crop_aug_range above 0, got 0"},
        {"face_crop_aug_range = [1.0, 2.0]\n[general]\nenable_bucket = true\nmin_bucket_reso = 16\nbucket_reso_steps = "
         "16",
         "enable_bucket = false with face_crop_aug_range"},
        {"custom_attributes = { a = 1 }", "no custom_attributes but diff_output_preservation"},
        {"custom_attributes = { diff_output_preservation = 1 }", "true or false"},
        {"custom_attributes = { timestep_sampling = { offset = \"a\" } }", "timestep_sampling = { offset = NUMBER }"},
        {"custom_attributes = { timestep_sampling = { mode = 1 } }", "timestep_sampling = { offset = NUMBER }"},
        {"custom_attributes = { timestep_sampling = 0.5 }", "timestep_sampling = { offset = NUMBER }"}}) {
    write_document(option);
    EXPECT_THAT([&] { open(); }, testing::ThrowsMessage<ConfigError>(HasSubstr(expected))) << option;
  }
}

TEST_F(SetIdentity, UnreadablePicturesHaveALimit) {
  write_file_atomically(folder_ / "pictures" / "4.png", "no picture");
  EXPECT_THAT([&] { open_picture_sets(document(), {.max_bad_fraction = 0.1}); },
              testing::ThrowsMessage<DataError>(HasSubstr("expected at most 10 % unreadable pictures, got 1 of 5")));
  EXPECT_EQ(open_picture_sets(document(), {.max_bad_fraction = 0.2})[0].train.pictures.size(), 4);
}

TEST_F(SetIdentity, AFolderOfFoldersIsADataSet) {
  fs::rename(folder_ / "pictures", folder_ / "3_cat");
  const std::vector<PictureSet> sets = open_picture_sets(folder_, {.batch_size = 5, .resolution = 32});
  ASSERT_EQ(sets.size(), 1);
  EXPECT_EQ(sets[0].train.num_samples(), 12);
  EXPECT_EQ(sets[0].options.batch_size, 5);
  EXPECT_EQ(sets[0].train.pictures[0].file.caption, "picture 0");
  EXPECT_EQ(sets[0].train.buckets[0].resolution, (PictureSize{32, 32}));
}

}  // namespace
}  // namespace millrace
