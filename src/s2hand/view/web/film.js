// Sources of the current frame: a film that plays, or a clock.

/** Frames by wall-clock time, where there is no film. */
export class Clock {
  constructor(frames, fps) {
    Object.assign(this, { frames, fps, speed: 1, playing: false, position: 0, since: 0 });
  }
  get frame() {
    const elapsed = this.playing ? ((performance.now() - this.since) / 1000) * this.speed : 0;
    return Math.floor(this.position + elapsed * this.fps + 1e-6) % this.frames;
  }
  seek(frame) {
    Object.assign(this, { position: frame, since: performance.now() });
  }
  setSpeed(speed) {
    this.seek(this.frame);
    this.speed = speed;
  }
  play() {
    this.seek(this.frame);
    this.playing = true;
  }
  pause() {
    this.seek(this.frame);
    this.playing = false;
  }
}

/** Frames of a film, drawn into canvases: the input, if the film has it, and the overlay. */
export class Film {
  /** Resolves to null if this browser cannot show the film. */
  static open(url, halves, frames, fps, canvases) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true, preload: "auto" });
    video.className = "source";
    document.body.append(video);
    return new Promise((resolve) => {
      video.addEventListener("error", () => resolve(null), { once: true });
      const ready = () => resolve(new Film(video, halves, frames, fps, canvases));
      video.addEventListener("loadeddata", ready, { once: true });
      video.src = url;
    });
  }
  constructor(video, halves, frames, fps, canvases) {
    Object.assign(this, { video, halves, frames, fps, at: 0 });
    this.width = video.videoWidth / halves;
    this.height = video.videoHeight;
    this.canvases = canvases;
    for (const { canvas } of canvases) {
      canvas.width = this.width;
      canvas.height = this.height;
    }
    this.draw();
    video.addEventListener("seeked", () => {
      this.draw();
      if (!this.playing) this.catchUp();
    });
  }
  get playing() {
    return !this.video.paused;
  }
  get frame() {
    if (!this.playing) return this.at;
    return Math.min(Math.floor(this.video.currentTime * this.fps + 1e-3), this.frames - 1);
  }
  seek(frame) {
    this.at = frame;
    // During a seek only the latest request counts; catchUp handles it when the seek ends.
    if (!this.video.seeking || this.playing) this.catchUp();
  }
  /** Seek to the middle of the requested frame. */
  catchUp() {
    const time = (this.at + 0.5) / this.fps;
    if (Math.abs(this.video.currentTime - time) > 1e-3) this.video.currentTime = time;
  }
  setSpeed(speed) {
    this.video.defaultPlaybackRate = this.video.playbackRate = speed;
  }
  play() {
    this.catchUp();
    this.video.play().catch(() => {}); // interrupted by a pause
  }
  pause() {
    const { frame } = this;
    this.video.pause();
    this.seek(frame);
  }
  /** Copy the film's current picture. */
  draw() {
    for (const { canvas, half } of this.canvases) {
      const context = canvas.getContext("2d");
      context.drawImage(
        this.video, half * this.width, 0, this.width, this.height, 0, 0, this.width, this.height,
      );
    }
  }
}
