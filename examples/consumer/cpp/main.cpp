// Classify photos with an unpacked bundle, by ONNX Runtime, libjpeg-turbo and libpng.
//
//   classify BUNDLE student.int8.cpu.onnx PHOTO... [--threshold 0.8] [--logits]
//
// One line for each photo: its name, the class, the confidence, and "taken" or "left" by the
// threshold, or "-" without one.
// The resampling is Pillow's, in its integers: the pixels are those that the model was trained and measured on.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <jpeglib.h>  // needs cstdio before it
#include <onnxruntime_cxx_api.h>
#include <png.h>

struct Image { int width, height; std::vector<uint8_t> rgb; };  // rows of interleaved R, G, B

[[noreturn]] static void refuse(const std::string& what) { throw std::runtime_error(what); }

static std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse(path + " cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

static void jpeg_failed(j_common_ptr info) { info->err->output_message(info), std::exit(1); }

// The orientation in a photo's EXIF data; 1 is upright.
static int orientation(const uint8_t* data, size_t size) {
    if (size < 14 || std::memcmp(data, "Exif\0\0", 6) != 0) return 1;
    data += 6, size -= 6;
    const bool little = data[0] == 'I';
    auto number = [&](size_t at, int bytes) {
        uint32_t value = 0;
        for (int i = 0; i < bytes && at + bytes <= size; ++i)
            value |= uint32_t(data[at + i]) << 8 * (little ? i : bytes - 1 - i);
        return value;
    };
    const size_t first = number(4, 4);
    for (size_t i = 0; i < number(first, 2); ++i)
        if (number(first + 2 + 12 * i, 2) == 0x0112) return int(number(first + 10 + 12 * i, 2));
    return 1;
}

static Image read_jpeg(const std::string& path) {
    const std::string bytes = text_of(path);
    jpeg_decompress_struct info;
    jpeg_error_mgr errors;
    info.err = jpeg_std_error(&errors);
    errors.error_exit = jpeg_failed;
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&info, TRUE);
    for (auto marker = info.marker_list; marker; marker = marker->next)
        if (orientation(marker->data, marker->data_length) != 1) refuse(path + ": turn it upright first");
    if (info.num_components != 1 && info.num_components != 3) refuse(path + ": not RGB and not grey");
    info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    const size_t size = size_t(info.output_width) * info.output_height * 3;
    Image image{int(info.output_width), int(info.output_height), std::vector<uint8_t>(size)};
    while (info.output_scanline < info.output_height) {
        JSAMPROW row = &image.rgb[size_t(info.output_scanline) * image.width * 3];
        jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_destroy_decompress(&info);
    return image;
}

static Image read_png(const std::string& path) {
    png_image png{};
    png.version = PNG_IMAGE_VERSION;
    if (!png_image_begin_read_from_file(&png, path.c_str())) refuse(path + ": " + png.message);
    if (png.format & PNG_FORMAT_FLAG_ALPHA) refuse(path + ": put its transparent parts on white first");
    png.format = PNG_FORMAT_RGB;
    Image image{int(png.width), int(png.height), std::vector<uint8_t>(PNG_IMAGE_SIZE(png))};
    if (!png_image_finish_read(&png, nullptr, image.rgb.data(), 0, nullptr)) refuse(path + ": " + png.message);
    return image;
}

// One axis, as Pillow's Resample.c for 8 bits: a triangle that is as wide as the reduction, 22 bits of fraction.
static Image resampled(const Image& in, bool across, float from, float to, int size) {
    const int length = across ? in.width : in.height, others = across ? in.height : in.width;
    Image out{across ? size : in.width, across ? in.height : size, std::vector<uint8_t>(size_t(size) * others * 3)};
    const size_t step = across ? 3 : size_t(in.width) * 3, row = across ? size_t(in.width) * 3 : 3;
    const size_t out_step = across ? 3 : size_t(out.width) * 3, out_row = across ? size_t(out.width) * 3 : 3;
    const double scale = double(to - from) / size, reach = std::max(scale, 1.0);
    for (int i = 0; i < size; ++i) {
        const double center = from + (i + 0.5) * scale;
        const int first = std::max(0, int(center - reach + 0.5));
        const int last = std::min(length, int(center + reach + 0.5));
        std::vector<double> weights;
        std::vector<int> whole;
        for (int x = first; x < last; ++x)
            weights.push_back(std::max(0.0, 1 - std::abs((x - center + 0.5) * (1 / reach))));
        const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (double weight : weights) whole.push_back(int(0.5 + weight / total * (1 << 22)));
        for (int y = 0; y < others; ++y)
            for (int c = 0; c < 3; ++c) {
                int sum = 1 << 21;
                for (size_t k = 0; k < whole.size(); ++k)
                    sum += in.rgb[y * row + (first + k) * step + c] * whole[k];
                out.rgb[y * out_row + i * out_step + c] = uint8_t(std::clamp(sum >> 22, 0, 255));
            }
    }
    return out;
}

// Both axes of a box. Where the height shrinks much more than the width, Pillow 13 begins with it; older ones do not,
// and differ by 1 of 255 there.
static Image resize(const Image& in, int width, int height, float left, float top, float right, float bottom) {
    Image out = in;
    const bool down_first = height < in.height && in.height - height > 2 * (in.width - width);
    for (const bool across : {!down_first, down_first}) {
        const int from = across ? in.width : in.height, to = across ? width : height;
        const float start = across ? left : top, end = across ? right : bottom;
        if (from != to || start != 0 || end != to) out = resampled(out, across, start, end, to);
    }
    return out;
}

static Image fitted(const Image& in, const std::string& how, int width, int height) {
    const double w = in.width, h = in.height, across = width / w, down = height / h;
    if (how == "stretch") return resize(in, width, height, 0, 0, in.width, in.height);
    if (how == "crop" || how == "center_crop") {
        const double kept = how == "crop" ? 1.0 : 7.0 / 8.0;
        const double part_w = kept * (across >= down ? w : h * width / height);
        const double part_h = kept * (across >= down ? w * height / width : h);
        const double left = (w - part_w) / 2, top = (h - part_h) / 2;
        return resize(in, width, height, left, top, left + part_w, top + part_h);
    }
    if (how == "pad") {
        const double target = across <= down ? width : height, side = across <= down ? w : h;
        auto inside = [&](double edge) { return std::max(1, int(std::nearbyint(edge * target / side))); };
        const Image inner = resize(in, inside(w), inside(h), 0, 0, in.width, in.height);
        Image out{width, height, std::vector<uint8_t>(size_t(width) * height * 3)};
        const size_t corner = size_t((height - inner.height) / 2) * width + (width - inner.width) / 2;
        for (size_t y = 0; y < size_t(inner.height); ++y)
            std::copy_n(&inner.rgb[y * inner.width * 3], inner.width * 3, &out.rgb[(corner + y * width) * 3]);
        return out;
    }
    if (in.width != width || in.height != height) refuse("the photo has another size than the images of the data");
    return in;
}

static std::string value_of(const std::string& json, const std::string& key) {
    std::smatch found;
    if (!std::regex_search(json, found, std::regex("\"" + key + "\": \"?([^\",\n}]+)"))) refuse("no " + key);
    return found[1];
}

static void run(const std::vector<std::string>& words) {
    const std::string bundle = words[0], json = text_of(bundle + "/preprocessing.json"), how = value_of(json, "how");
    const int width = std::stoi(value_of(json, "width")), height = std::stoi(value_of(json, "height"));
    std::vector<std::string> labels;
    std::istringstream lines(text_of(bundle + "/labels.txt"));
    for (std::string line; std::getline(lines, line);) labels.push_back(line);
    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING);
    Ort::SessionOptions options;
    options.AddConfigEntry("session.x64quantprecision", "1");  // int8 on x86 without VNNI
    Ort::Session session(environment, (bundle + "/" + words[1]).c_str(), options);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const bool shows = std::find(words.begin(), words.end(), "--logits") != words.end();
    const auto limit = std::find(words.begin(), words.end(), "--threshold");
    const bool decides = words.end() - limit > 1;
    const float threshold = decides ? std::stof(*(limit + 1)) : 0;
    for (size_t i = 2; i < words.size() && words[i].rfind("--", 0) != 0; ++i) {
        const bool png = text_of(words[i]).rfind("\x89PNG", 0) == 0;
        const Image image = fitted(png ? read_png(words[i]) : read_jpeg(words[i]), how, width, height);
        std::vector<uint8_t> planes(image.rgb.size());
        for (size_t at = 0; at < planes.size(); ++at) planes[at % 3 * (planes.size() / 3) + at / 3] = image.rgb[at];
        const int64_t shape[] = {1, 3, height, width};
        auto input = Ort::Value::CreateTensor<uint8_t>(memory, planes.data(), planes.size(), shape, 4);
        const char *names[] = {"images"}, *outputs[] = {"logits", "probabilities"};
        auto results = session.Run(Ort::RunOptions{}, names, &input, 1, outputs, 2);
        const float *logits = results[0].GetTensorData<float>(), *chances = results[1].GetTensorData<float>();
        const size_t classes = results[1].GetTensorTypeAndShapeInfo().GetElementCount();
        if (classes != labels.size()) refuse("labels.txt is of another model");
        const size_t best = std::max_element(chances, chances + classes) - chances;
        std::printf("%s\t%s\t%.4f\t%s", words[i].substr(words[i].rfind('/') + 1).c_str(), labels[best].c_str(),
                    chances[best], !decides ? "-" : chances[best] >= threshold ? "taken" : "left");
        for (size_t c = 0; shows && c < classes; ++c) std::printf("%c%.9g", c ? ' ' : '\t', logits[c]);
        std::puts("");
    }
}

int main(int count, char** words) try {
    if (count < 4) refuse("classify BUNDLE MODEL PHOTO... [--threshold 0.8] [--logits]");
    run({words + 1, words + count});
} catch (const std::exception& wrong) {
    std::fprintf(stderr, "%s\n", wrong.what());
    return 1;
}
