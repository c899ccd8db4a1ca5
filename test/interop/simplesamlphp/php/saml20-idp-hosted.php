<?php
$metadata = json_decode(file_get_contents(__DIR__ . '/idp-hosted.json'), true, 512, JSON_THROW_ON_ERROR);
