//! Screens as they are drawn, and what keys make of them.

mod keys;
mod scene;
mod screens;
