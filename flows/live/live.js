"use strict";
// One frame is on its way at a time: the next is taken when the answer is here, so a slow server sees fewer, not older ones.
const WORDS = {
  live: "live", spoof: "spoof", wait: "hold still ...", "look-at-the-camera": "look at the camera",
  "no-face": "no face", "too-small": "come closer", blurred: "blurred: hold still, clean the lens",
};
const QUALITY = 0.95; // stronger compression would wipe out what tells a print from skin
const find = (id) => document.getElementById(id);
const video = find("video"), box = find("box"), state = find("state");
const still = document.createElement("canvas");
let sent = 0, answers = 0, first = 0;

function say(name, text) {
  state.className = name;
  state.textContent = text;
}

function shown(sight) {
  answers += 1;
  const score = sight.score === null ? "" : "  " + sight.score.toFixed(3);
  say(sight.state, WORDS[sight.state] + score);
  const pen = box.getContext("2d");
  pen.clearRect(0, 0, box.width, box.height);
  if (sight.box) {
    const [x1, y1, x2, y2] = sight.box;
    pen.strokeStyle = getComputedStyle(state).backgroundColor;
    pen.lineWidth = 4;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  const now = performance.now(), rate = answers / (now - first) * 1000;
  find("rate").textContent = `${rate.toFixed(0)} frames/s, answer after ${(now - sent).toFixed(0)} ms`;
}

async function start() {
  find("start").disabled = true;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
    await video.play();
  } catch (error) {
    say("", "no camera: " + error.message);
    find("start").disabled = false;
    return;
  }
  still.width = box.width = video.videoWidth;
  still.height = box.height = video.videoHeight;
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/frames");
  const send = () => {
    still.getContext("2d").drawImage(video, 0, 0);
    sent = performance.now();
    still.toBlob((jpeg) => socket.readyState === WebSocket.OPEN && socket.send(jpeg), "image/jpeg", QUALITY);
  };
  let error = "";
  socket.onopen = () => { first = performance.now(); send(); };
  socket.onmessage = (message) => {
    const sight = JSON.parse(message.data);
    if (sight.error) { error = sight.error; return; }
    shown(sight);
    requestAnimationFrame(send);
  };
  socket.onclose = () => {
    video.srcObject.getTracks().forEach((track) => track.stop());
    say("", error || "the server has ended the connection");
    find("start").disabled = false;
  };
}

find("start").addEventListener("click", start);
